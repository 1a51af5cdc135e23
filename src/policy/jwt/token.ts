/** A JSON Web Token in compact form (RFC 7515 §7.1, RFC 7519), taken apart and not yet believed. */
export interface Token {
  readonly algorithm: string;
  /** "" when the header has none. */
  readonly keyId: string;
  readonly claims: Readonly<Record<string, unknown>>;
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
  const { alg, kid, crit } = head;
  // RFC 7515 §4.1.11: what must be understood, and is not understood here.
  if (typeof alg !== "string" || crit !== undefined) return undefined;
  return {
    algorithm: alg,
    keyId: typeof kid === "string" ? kid : "",
    claims,
    payload,
    signed: Buffer.from(`${header}.${payload}`, "latin1"),
    signature: Buffer.from(signature, "base64url"),
  };
}

/** RFC 7519 §4: of several claims of one name the last counts, as JSON.parse has it. */
function objectOf(part: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
