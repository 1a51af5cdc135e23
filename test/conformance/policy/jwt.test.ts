/** Istio's own tokens and keys: the set jwt of the folder that WAYSTONE_CONFORMANCE names. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Authenticator } from "../../../src/policy/jwt/authenticator.ts";
import { request } from "../../policy/mesh.ts";
import { conformancePath } from "../../support/conformance.ts";

const ROOT = conformancePath("jwt");

interface TokenCase {
  readonly name: string;
  /** The file of its issuer's keys. */
  readonly jwks: string;
  readonly token: string;
  /** Absent where there is none to read. */
  readonly payload?: Readonly<Record<string, unknown>>;
  readonly signatureValid: boolean;
  readonly expired: boolean;
}

const read = (file: string) => readFileSync(join(ROOT!, file), "utf8");
const { tokens } = (ROOT === undefined ? { tokens: [] } : JSON.parse(read("tokens.json"))) as {
  tokens: readonly TokenCase[];
};

function verify({ jwks, token, payload }: TokenCase) {
  const rule = {
    issuer: String(payload?.iss ?? "test-issuer-1@istio.io"),
    audiences: [],
    jwks: read(jwks),
    fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
    fromParams: [],
    fromCookies: [],
    forwardOriginalToken: false,
    outputPayloadToHeader: "",
    outputClaimToHeaders: [],
    spaceDelimitedClaims: [],
  };
  const source = { kind: "RequestAuthentication", namespace: "default", name: "jwt" };
  const authenticator = new Authenticator([
    { key: "default/jwt", rules: [rule], source, position: undefined },
  ]);
  const facts = request({ headers: { authorization: `Bearer ${token}` } });
  return authenticator.authenticate(facts, Date.now());
}

describe.skipIf(ROOT === undefined)("jwt", () => {
  test.each(tokens)("$name", (one) => {
    const result = verify(one);
    expect(result.isPassed).toBe(one.signatureValid && !one.expired);
    if (result.isPassed) expect(result.jwt?.claims).toEqual(one.payload);
  });

  test("there are tokens", () => expect(tokens.length).toBeGreaterThan(10));
});
