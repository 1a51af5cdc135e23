/** Tokens of two issuers, good ones and such that are wrong in one way. */
import { createHmac } from "node:crypto";
import type { JwtRule, RequestAuthentication } from "../../src/model/request-authentication.ts";
import { Issuer } from "../support/tokens.ts";
import type { JudgedRequest } from "./judged-policies.ts";

const AUDIENCE = "https://api.example.com";
const ISSUERS = new Map([
  ["me", new Issuer("RS256", "me-key")],
  ["other", new Issuer("ES256", "other-key")],
]);
const FOREIGN = new Issuer("RS256", "me-key");

/** The issuer `other` asks for an audience. */
export const JWT_RULES: readonly JwtRule[] = [...ISSUERS].map(([issuer, keys]) => ({
  issuer,
  audiences: issuer === "other" ? [AUDIENCE] : [],
  jwks: keys.jwks({ alg: keys.alg }),
  fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
  fromParams: ["access_token"],
  fromCookies: [],
  forwardOriginalToken: true,
  outputPayloadToHeader: "",
  outputClaimToHeaders: [],
  spaceDelimitedClaims: [],
}));

export const AUTHENTICATION: RequestAuthentication = {
  key: "default/tokens",
  rules: JWT_RULES,
  source: { kind: "RequestAuthentication", namespace: "default", name: "tokens" },
  position: undefined,
};

/** undefined: the request has none. */
export function tokenOf({ jwt, flaw }: JudgedRequest, nowMs: number): string | undefined {
  if (jwt === undefined) return undefined;
  const [iss = "me", sub] = jwt.principal?.split("/") ?? [];
  const issuer = ISSUERS.get(iss)!;
  const seconds = Math.floor(nowMs / 1000);
  const claims = {
    ...jwt.claims,
    iss: flaw === "issuer" ? "stranger" : iss,
    sub,
    aud: flaw === "audience" ? "elsewhere" : [AUDIENCE, "b"],
    exp: seconds + (flaw === "expired" ? -600 : 3_600),
    ...(flaw === "early" && { nbf: seconds + 600 }),
  };
  const token = issuer.token(claims, headerOf(flaw));
  const [head = "", payload = "", signature = ""] = token.split(".");
  switch (flaw) {
    case "foreign key":
      return FOREIGN.token(claims);
    case "alg none":
      return `${head}.${payload}.`;
    case "HS256": {
      const secret = JSON.stringify(issuer.jwk());
      const mac = createHmac("sha256", secret).update(`${head}.${payload}`).digest("base64url");
      return `${head}.${payload}.${mac}`;
    }
    case "cut":
      return `${head}.${payload}.${signature.slice(0, -8)}`;
    case "words":
      return "not.a.token";
    default:
      return token;
  }
}

function headerOf(flaw: JudgedRequest["flaw"]): Record<string, unknown> {
  if (flaw === "alg none") return { alg: "none" };
  if (flaw === "HS256") return { alg: "HS256" };
  if (flaw === "other alg") return { alg: "RS512" };
  if (flaw === "no kid") return { kid: undefined };
  return flaw === "unknown kid" ? { kid: "nobody's" } : {};
}
