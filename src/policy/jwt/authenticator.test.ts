import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type RequestParts, request } from "../../../test/policy/mesh.ts";
import { type Alg, Issuer } from "../../../test/support/tokens.ts";
import type { JwtRule } from "../../model/request-authentication.ts";
import { Authenticator } from "./authenticator.ts";

const NOW_S = 1_800_000_000;
const NOW_MS = NOW_S * 1000;
const ISS = "https://issuer.example";
const issuer = new Issuer();
const CLAIMS = { iss: ISS, sub: "me", exp: NOW_S + 600 };

function ruleOf(parts: Partial<JwtRule> = {}): JwtRule {
  return {
    issuer: ISS,
    audiences: [],
    jwks: issuer.jwks(),
    fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
    fromParams: ["access_token"],
    fromCookies: [],
    forwardOriginalToken: false,
    outputPayloadToHeader: "",
    outputClaimToHeaders: [],
    spaceDelimitedClaims: ["scope"],
    ...parts,
  };
}

function authenticatorOf(...rules: JwtRule[]): Authenticator {
  const source = { kind: "RequestAuthentication", namespace: "default", name: "jwt" };
  return new Authenticator([{ key: "default/jwt", rules, source, position: undefined }]);
}

function ask(token: string | RequestParts, ...rules: JwtRule[]) {
  const parts =
    typeof token === "string" ? { headers: { authorization: `Bearer ${token}` } } : token;
  const authenticator = authenticatorOf(...(rules.length === 0 ? [ruleOf()] : rules));
  return authenticator.authenticate(request(parts), NOW_MS);
}

/** `200` and the principal, or the status and the reason. */
function outcome(token: string | RequestParts, ...rules: JwtRule[]): string {
  const result = ask(token, ...rules);
  return result.isPassed ? `200 ${result.jwt?.principal}` : `${result.status} ${result.reason}`;
}

const INVALID = "401 Jwt verification fails";
const MALFORMED =
  "401 Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

function textOf(claims: string): string {
  const head = encode({ alg: "RS256", kid: "k1" });
  return `${head}.${Buffer.from(claims).toString("base64url")}`;
}

describe("authenticate()", () => {
  test.each<Alg>(["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"])("verifies %s", (alg) => {
    const other = new Issuer(alg);
    const rule = ruleOf({ jwks: other.jwks() });
    const token = other.token(CLAIMS);
    expect(outcome(token, rule)).toBe(`200 ${ISS}/me`);
    const [head, , signature] = token.split(".");
    expect(outcome(`${head}.${encode({ ...CLAIMS, sub: "you" })}.${signature}`, rule)).toBe(
      INVALID,
    );
    expect(outcome(new Issuer(alg).token(CLAIMS), rule)).toBe(INVALID);
  });

  test("lets pass what carries no token, without a principal", () => {
    expect(outcome({})).toBe("200 undefined");
    expect(outcome({ headers: { authorization: "Basic bWU6" } })).toBe("200 undefined");
    expect(outcome({ headers: { authorization: "Bearer" } })).toBe("200 undefined");
  });

  test("refuses unsigned tokens, and public keys taken for secrets", () => {
    const none = `${encode({ alg: "none" })}.${encode(CLAIMS)}`;
    expect(outcome(`${none}.`)).toBe(MALFORMED);
    expect(outcome(`${none}.AAAA`)).toBe("401 Jwt header [alg] is not supported");
    const head = `${encode({ alg: "HS256", kid: "k1" })}.${encode(CLAIMS)}`;
    const secret = issuer.publicKey.export({ format: "pem", type: "spki" });
    const forged = createHmac("sha256", secret).update(head).digest("base64url");
    expect(outcome(`${head}.${forged}`)).toBe("401 Jwt header [alg] is not supported");
    expect(outcome(issuer.token(CLAIMS, { alg: "ES256" }))).toMatch(/^401 Jwks doesn't have key/);
    expect(outcome(issuer.token(CLAIMS, { alg: "__proto__" }))).toMatch(/not supported/);
    expect(outcome(issuer.token(CLAIMS, { crit: ["b64"] }))).toBe(MALFORMED);
  });

  test("minds times, with a minute's leeway", () => {
    const at = (claims: object) => outcome(issuer.token({ ...CLAIMS, ...claims }));
    expect(at({ exp: NOW_S - 59 })).toMatch(/^200/);
    expect(at({ exp: NOW_S - 61 })).toBe("401 Jwt is expired");
    expect(at({ nbf: NOW_S + 59 })).toMatch(/^200/);
    expect(at({ nbf: NOW_S + 61 })).toBe("401 Jwt not yet valid");
    expect(at({ exp: undefined })).toMatch(/^200/);
    expect(at({ exp: "tomorrow" })).toBe(MALFORMED);
  });

  test("minds issuer and audience", () => {
    expect(outcome(issuer.token({ ...CLAIMS, iss: "other" }))).toBe(
      "401 Jwt issuer is not configured",
    );
    const rule = ruleOf({ audiences: ["shop", "https://bar.example/"] });
    const at = (aud: unknown) => outcome(issuer.token({ ...CLAIMS, aud }), rule);
    expect(at("shop")).toMatch(/^200/);
    expect(at(["x", "bar.example"])).toMatch(/^200/);
    expect(at("shops")).toBe("403 Audiences in Jwt are not allowed");
    expect(at(undefined)).toBe("403 Audiences in Jwt are not allowed");
    expect(at([["shop"]])).toBe(MALFORMED);
  });

  test("finds the key by its id, or tries all where there is none", () => {
    const second = new Issuer("RS256", "k2");
    const keys = JSON.stringify({ keys: [issuer.jwk(), { kty: "strange" }, second.jwk()] });
    const rule = ruleOf({ jwks: keys });
    expect(outcome(second.token(CLAIMS), rule)).toMatch(/^200/);
    expect(outcome(second.token(CLAIMS, { kid: undefined }), rule)).toMatch(/^200/);
    expect(outcome(second.token(CLAIMS, { kid: "k1" }), rule)).toBe(INVALID);
    expect(outcome(second.token(CLAIMS, { kid: "k3" }), rule)).toMatch(/^401 Jwks doesn't have/);
    const forEncryption = ruleOf({ jwks: issuer.jwks({ use: "enc" }) });
    expect(outcome(issuer.token(CLAIMS), forEncryption)).toMatch(/^401 Jwks doesn't have/);
    expect(outcome(issuer.token(CLAIMS), ruleOf({ jwks: undefined }))).toBe(
      "401 Jwks remote fetch is failed",
    );
  });

  test.each([
    "a",
    "a.b",
    "a.b.c.d",
    "..",
    "a.b.c",
    `${encode([])}.${encode(CLAIMS)}.AAAA`,
    `${encode({ alg: "RS256" })}.${encode("text")}.AAAA`,
    `${encode({ alg: 7 })}.${encode(CLAIMS)}.AAAA`,
    `${"A".repeat(70_000)}.A.A`,
    "é.é.é",
  ])("refuses what is no token: %.40s", (text) => {
    expect(outcome(text)).toBe(MALFORMED);
  });

  test.each([
    ["at the top", `{"iss":"x","iss":"${ISS}","sub":"me"}`],
    ["spelled otherwise", `{"iss":"x","i\\u0073s" : "${ISS}","sub":"me"}`],
    ["inside", `{"iss":"${ISS}","sub":"me","at":[{"a":{"b":1,"b":2}}]}`],
  ])("refuses two claims of one name %s (RFC 7519 §4)", (_, claims) => {
    expect(outcome(issuer.signed(textOf(claims)))).toBe(MALFORMED);
  });

  test("takes names that repeat in other objects, or are text", () => {
    const claims = `{"iss":"${ISS}","sub":"me","a":{"sub":1,"x":["sub","sub","{\\"a\\":1"]},"b":{"sub":2}}`;
    expect(outcome(issuer.signed(textOf(claims)))).toBe(`200 ${ISS}/me`);
  });

  test.each([
    { sub: 7 },
    { iss: 7 },
    { jti: 7 },
    { iat: "now" },
    { nbf: null },
    { nbf: -5 },
    { exp: null },
    { aud: ["shop", 7] },
    { aud: { shop: true } },
  ])("refuses claims of another type than RFC 7519 §4.1 has: %j", (claims) => {
    expect(outcome(issuer.token({ ...CLAIMS, ...claims }))).toBe(MALFORMED);
  });

  test("refuses empty tokens", () => {
    const rule = ruleOf({ fromHeaders: [{ name: "x-token", prefix: "" }], fromCookies: ["t"] });
    expect(outcome({ headers: { "x-token": "" } }, rule)).toBe(MALFORMED);
    expect(outcome({ query: "access_token=" }, rule)).toBe(MALFORMED);
    expect(outcome({ query: "a=1&access_token" }, rule)).toBe(MALFORMED);
    expect(outcome({ query: "a=1&access_tokens" }, rule)).toBe("200 undefined");
    expect(outcome({ headers: { cookie: "a=1; t=" } }, rule)).toBe(MALFORMED);
    expect(outcome({ headers: { cookie: "a=1; t" } }, rule)).toBe("200 undefined");
  });

  test("finds a token in a cookie's quotes", () => {
    const rule = ruleOf({ fromCookies: ["t"] });
    const cookie = `a=1; t="${issuer.token(CLAIMS)}"`;
    expect(outcome({ headers: { cookie } }, rule)).toBe(`200 ${ISS}/me`);
  });

  test.each([
    [7, "7"],
    [2 ** 63, "9223372036854775808"],
    [-5, "-5.000000"],
    [1.5, "1.500000"],
    [-1e21, "-1000000000000000000000.000000"],
  ])("writes the number %s as Envoy does", (level, text) => {
    const rule = ruleOf({ outputClaimToHeaders: [{ header: "x-level", claim: "level" }] });
    const result = ask(issuer.token({ ...CLAIMS, level }), rule);
    expect(result.isPassed && result.setHeaders).toEqual([["x-level", text]]);
  });

  test("wants all tokens good, wherever they stand", () => {
    const [good, bad] = [issuer.token(CLAIMS), issuer.token({ ...CLAIMS, exp: 1 })];
    const query = `access_token=${good}`;
    expect(outcome({ query })).toMatch(/^200/);
    expect(outcome({ query, headers: { authorization: `Bearer ${bad}` } })).toMatch(/expired/);
    expect(outcome({ query: `${query}&access_token=${bad}` })).toMatch(/expired/);
    const twice = { authorization: `Bearer ${good},Bearer ${bad}` };
    expect(outcome({ headers: twice })).toMatch(/expired/);
    const cookies = ruleOf({ fromHeaders: [], fromParams: [], fromCookies: ["t"] });
    expect(outcome({ headers: { cookie: `a=1; t=${good}` } }, cookies)).toMatch(/^200/);
    expect(outcome({ headers: { cookie: `t=${good}; t=${bad}` } }, cookies)).toMatch(/expired/);
  });

  test("looks for an issuer's tokens only where its rule says", () => {
    const elsewhere = ruleOf({
      issuer: "other",
      fromHeaders: [{ name: "x-token", prefix: "" }],
      fromParams: [],
    });
    const token = issuer.token(CLAIMS);
    expect(outcome({ headers: { "x-token": token } }, ruleOf(), elsewhere)).toBe(
      "401 Jwt issuer is not configured",
    );
    expect(outcome({ headers: { "x-other": token } }, ruleOf(), elsewhere)).toBe("200 undefined");
  });

  test("reads one header with the prefix of each rule", () => {
    const other = new Issuer("ES256");
    const bare = ruleOf({ fromHeaders: [{ name: "x-token", prefix: "" }] });
    const prefixed = ruleOf({
      issuer: "other",
      jwks: other.jwks(),
      fromHeaders: [{ name: "x-token", prefix: "Token " }],
    });
    const at = (value: string) => outcome({ headers: { "x-token": value } }, bare, prefixed);
    expect(at(`Token ${other.token({ iss: "other", sub: "me" })}`)).toBe("200 other/me");
    expect(at(issuer.token(CLAIMS))).toBe(`200 ${ISS}/me`);
    expect(at("Token words")).toBe(MALFORMED);
    // The first of the rules tells why.
    const late = `Token ${other.token({ iss: "other", exp: 1 })}`;
    expect(at(late)).toBe(MALFORMED);
    expect(outcome({ headers: { "x-token": late } }, prefixed, bare)).toBe("401 Jwt is expired");
  });

  test("leaves preflights alone", () => {
    const headers = {
      origin: "http://a",
      "access-control-request-method": "GET",
      authorization: "Bearer bad",
    };
    expect(outcome({ method: "OPTIONS", headers })).toBe("200 undefined");
    expect(outcome({ method: "OPTIONS", headers: { authorization: "Bearer bad" } })).toBe(
      MALFORMED,
    );
  });

  test("says what goes on to the backend, and what clients may not claim", () => {
    const rule = ruleOf({
      outputPayloadToHeader: "x-payload",
      outputClaimToHeaders: [
        { header: "x-group", claim: "at.group" },
        { header: "x-level", claim: "level" },
        { header: "x-list", claim: "list" },
      ],
      fromCookies: ["t"],
    });
    const claims = { ...CLAIMS, at: { group: "g" }, level: 3, list: ["a"] };
    const token = issuer.token(claims);
    const result = ask({ query: `access_token=${token}`, headers: { cookie: `t=${token}` } }, rule);
    expect(result).toMatchObject({
      removedHeaders: ["x-payload", "x-group", "x-level", "x-list"],
      removedParameters: new Set(["access_token"]),
      removedCookies: new Set(["t"]),
    });
    expect(result.isPassed && Object.fromEntries(result.setHeaders)).toEqual({
      "x-payload": token.split(".")[1],
      "x-group": "g",
      "x-level": "3",
      "x-list": "WyJhIl0=",
    });
    expect(ask({}, rule)).toMatchObject({
      removedHeaders: ["x-payload", "x-group", "x-level", "x-list"],
      setHeaders: [],
    });
    const forwarding = ask(token, ruleOf({ forwardOriginalToken: true }));
    expect(forwarding).toMatchObject({ removedHeaders: [] });
  });

  test("claims that are lists written with spaces are lists", () => {
    const result = ask(issuer.token({ ...CLAIMS, scope: "read  write", other: "a b" }));
    expect(result.isPassed && result.jwt?.claims).toMatchObject({
      scope: ["read", "write"],
      other: "a b",
    });
  });

  test("remembers what is good until it expires", () => {
    const authenticator = authenticatorOf(ruleOf());
    const token = issuer.token(CLAIMS);
    const facts = request({ headers: { authorization: `Bearer ${token}` } });
    const first = authenticator.authenticate(facts, NOW_MS);
    expect(authenticator.authenticate(facts, NOW_MS + 1)).toBe(first);
    expect(authenticator.authenticate(facts, NOW_MS + 661_000)).toMatchObject({ isPassed: false });
    // More tokens than are remembered: the first is verified anew.
    for (let i = 0; i < 600; i++) {
      const other = issuer.token({ ...CLAIMS, jti: String(i) });
      authenticator.authenticate(
        request({ headers: { authorization: `Bearer ${other}` } }),
        NOW_MS,
      );
    }
    const again = authenticator.authenticate(facts, NOW_MS);
    expect(again).not.toBe(first);
    expect(again).toEqual(first);
  });
});
