/** What was fetched of an issuer's keys. */
export interface FetchedJwks {
  /** The last that were had; undefined: none ever. */
  readonly jwks: string | undefined;
  /** Why there are none, or no newer ones. */
  readonly problem: string | undefined;
}

/** Whether the text is a JSON Web Key Set (RFC 7517 §5); `undefined`: it is. */
export function jwksProblem(text: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "it is not JSON";
  }
  const { keys } = (value ?? {}) as { keys?: unknown };
  if (!Array.isArray(keys)) return 'it has no list "keys" (RFC 7517 §5)';
  const isKey = (key: unknown) => typeof (key as { kty?: unknown } | null)?.kty === "string";
  return keys.some(isKey) ? undefined : "there is no key in it";
}
