/**
 * Query parameters: the first one of a name counts. Names and values are percent-decoded (RFC 3986
 * §2.4); `+` is a plus, as in Envoy. What is not valid UTF-8 in percent signs stays as it was sent.
 */

/** The value, decoded; undefined: there is no such parameter. `k` and `k=` both are "". */
export function queryParameter(query: string, name: string): string | undefined {
  let start = 0;
  while (start < query.length) {
    const next = query.indexOf("&", start);
    const end = next < 0 ? query.length : next;
    const equals = query.indexOf("=", start);
    const nameEnd = equals < 0 || equals > end ? end : equals;
    if (isNamed(query, start, nameEnd, name)) {
      return nameEnd === end ? "" : decode(query.slice(nameEnd + 1, end));
    }
    start = end + 1;
  }
  return undefined;
}

function isNamed(query: string, start: number, end: number, name: string): boolean {
  if (end === start) return false;
  for (let i = start; i < end; i++) {
    if (query.charCodeAt(i) === PERCENT) return decode(query.slice(start, end)) === name;
  }
  return end - start === name.length && query.startsWith(name, start);
}

const PERCENT = 0x25;

function decode(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
