/**
 * Takes secrets out of what is kept about a request: credentials, cookies, tokens.
 *
 * Goes by name and, for bearer values under other names, by the look of the value. What is
 * recorded is for people to read and to replay a decision with, never for logging in.
 */
export const REDACTED = "[redacted]";

const SECRET_HEADERS = new Set([
  "authorization",
  "proxy-authorization",
  "cookie",
  "set-cookie",
  "x-api-key",
  "api-key",
  "apikey",
]);
/** Endings and parts of names that speak of a secret: `x-amz-security-token`, `x-jwt-assertion`. */
const SECRET_NAME = /token|secret|passw|credential|jwt|session|signature|api[-_]?key/;
/** `Bearer …`, `Basic …`, or a compact JWS: three base64url parts of which the first is a JSON object. */
const SECRET_VALUE = /^(?:bearer|basic|negotiate|digest)\s|eyJ[\w-]+\.[\w-]+\./i;
const SECRET_PARAMETERS = new Set(["code", "sig", "key", "auth"]);

/** Names seen before and whether they are secret; bounded, since clients choose them. */
const known = new Map<string, boolean>();
const KNOWN_MAX = 1024;

function isSecretName(name: string): boolean {
  let isSecret = known.get(name);
  if (isSecret === undefined) {
    isSecret = SECRET_HEADERS.has(name) || SECRET_NAME.test(name);
    if (known.size >= KNOWN_MAX) known.clear();
    known.set(name, isSecret);
  }
  return isSecret;
}

/** Header pairs (name, value, …) with secret values replaced; the same list when there are none. */
export function redactHeaders(headers: readonly string[]): readonly string[] {
  let copy: string[] | undefined;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const value = headers[i + 1]!;
    if (isSecretName(headers[i]!.toLowerCase()) || SECRET_VALUE.test(value)) {
      copy ??= headers.slice();
      copy[i + 1] = REDACTED;
    }
  }
  return copy ?? headers;
}

/** A query (without "?") with the values of secret parameters replaced. */
export function redactQuery(query: string): string {
  if (query === "") return query;
  const parts = query.split("&").map((part) => {
    const equals = part.indexOf("=");
    if (equals < 0) return SECRET_VALUE.test(part) ? REDACTED : part;
    const name = decoded(part.slice(0, equals)).toLowerCase();
    const isSecret =
      SECRET_PARAMETERS.has(name) ||
      SECRET_NAME.test(name) ||
      SECRET_VALUE.test(decoded(part.slice(equals + 1)));
    return isSecret ? `${part.slice(0, equals)}=${REDACTED}` : part;
  });
  return parts.join("&");
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text; // A malformed escape hides nothing that a server would decode.
  }
}
