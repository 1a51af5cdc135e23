/** Those that RFC 7519 §4.1 registers are of its types. */
export interface Claims extends Readonly<Record<string, unknown>> {
  readonly iss?: string;
  readonly sub?: string;
  readonly aud?: string | readonly string[];
  readonly exp?: number;
  readonly nbf?: number;
}

/** A JSON Web Token in compact form (RFC 7515 §7.1, RFC 7519), taken apart and not yet believed. */
export interface Token {
  readonly algorithm: string;
  /** "" when the header has none. */
  readonly keyId: string;
  readonly claims: Claims;
  /** As it stands in the token: base64url. */
  readonly payload: string;
  /** What the signature is over. */
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/** Longer ones are none: a request's head could not hold them. */
const TOKEN_BYTES_MAX = 64 * 1024;
const BASE64URL = /^[A-Za-z0-9_-]+$/;

/** `undefined`: it is none. */
export function parseToken(text: string): Token | undefined {
  if (text.length > TOKEN_BYTES_MAX) return undefined;
  const parts = text.split(".");
  const [header = "", payload = "", signature = ""] = parts;
  if (parts.length !== 3 || !parts.every((part) => BASE64URL.test(part))) return undefined;
  const head = objectOf(header);
  const claims = objectOf(payload);
  if (head === undefined || claims === undefined) return undefined;
  const { alg, kid = "", crit } = head;
  // RFC 7515 §4.1.11: what must be understood, and is not understood here.
  if (typeof alg !== "string" || typeof kid !== "string" || crit !== undefined) return undefined;
  if (!areClaims(claims)) return undefined;
  return {
    algorithm: alg,
    keyId: kid,
    claims,
    payload,
    signed: Buffer.from(`${header}.${payload}`, "latin1"),
    signature: Buffer.from(signature, "base64url"),
  };
}

const TEXT_CLAIMS = ["iss", "sub", "jti"];
const TIME_CLAIMS = ["exp", "nbf", "iat"];

/** No time is before 1970. */
function areClaims(claims: Readonly<Record<string, unknown>>): claims is Claims {
  const isText = (claim: unknown) => claim === undefined || typeof claim === "string";
  const isTime = (claim: unknown) =>
    claim === undefined || (typeof claim === "number" && claim >= 0 && Number.isFinite(claim));
  const { aud = "" } = claims;
  const isAudience = Array.isArray(aud)
    ? aud.every((one) => typeof one === "string")
    : typeof aud === "string";
  return (
    TEXT_CLAIMS.every((name) => isText(claims[name])) &&
    TIME_CLAIMS.every((name) => isTime(claims[name])) &&
    isAudience
  );
}

/** RFC 7519 §4: names are unique. Who reads the first of two would read another token. */
function objectOf(part: string): Record<string, unknown> | undefined {
  try {
    const text = Buffer.from(part, "base64url").toString("utf8");
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject && !hasRepeatedName(text) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Strings, with the colon behind a name, and brackets. */
const JSON_PARTS = /("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|[{}[\]]/g;

/** Whether an object of this JSON text has two members of one name. */
function hasRepeatedName(json: string): boolean {
  const open: Set<string>[] = [];
  for (const [part, text, colon] of json.matchAll(JSON_PARTS)) {
    if (part === "{" || part === "[") open.push(new Set());
    else if (part === "}" || part === "]") open.pop();
    else if (colon !== undefined) {
      const names = open.at(-1)!;
      const name = JSON.parse(text!) as string;
      if (names.has(name)) return true;
      names.add(name);
    }
  }
  return false;
}
