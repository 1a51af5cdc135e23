/** Keeps secrets out of traces: what a request carried under a name that speaks of one. */
const SECRET_NAME =
  /token|secret|passw|credential|jwt|session|signature|api[-_]?key|authorization|cookie/i;
const SECRET_NAMES_WHOLE = new Set(["code", "sig", "key", "auth"]);
const SECRET_VALUE = /^(?:bearer|basic|negotiate|digest)\s|eyJ[\w-]+\.[\w-]+\./i;

/** What may be shown of the value of a header or query parameter. */
export function redacted(name: string, value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  const isSecret =
    SECRET_NAMES_WHOLE.has(name.toLowerCase()) ||
    SECRET_NAME.test(name) ||
    SECRET_VALUE.test(value);
  return isSecret ? "[redacted]" : value;
}
