/**
 * Paths in the one form that policies and routes compare (MeshConfig `pathNormalization`).
 *
 * BASE is RFC 3986 normalisation as Envoy does it: unreserved characters decoded, `\` taken for
 * `/`, dot segments resolved (also those with parameters: `..;x`); `%2f` and `%5c` stay as they
 * are. MERGE_SLASHES also merges `//`; DECODE_AND_MERGE_SLASHES first decodes `%2f` and `%5c`.
 * A path that cannot be normalised (a NUL, encoded or not; a `%` without two digits stays) is no path: 400.
 */
export type PathNormalization = "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";

/** Whether anything may have to change; most paths pass with one look and no allocation. */
const MAY_CHANGE = /[%\\]|\/\.|\/\//;

export function normalizePath(path: string, mode: PathNormalization): string | undefined {
  if (mode === "NONE" || !MAY_CHANGE.test(path)) return path;
  let result = decodeUnreserved(path);
  if (mode === "DECODE_AND_MERGE_SLASHES") {
    result = result.replace(/%2f/gi, "/").replace(/%5c/gi, "\\");
  }
  if (/%00|\0/.test(result)) return undefined;
  result = resolveDots(result.replaceAll("\\", "/"));
  return mode === "BASE" ? result : result.replace(/\/{2,}/g, "/");
}

/**
 * `%41` → `A` for letters, digits, `-._~` (RFC 3986 §6.2.2.2); others keep their encoding.
 *
 * A stray `%` before an encoded character becomes `%25`: `%%32e` must not turn into `%2e`, which
 * the backend would decode once more and see a dot where policy saw none.
 */
function decodeUnreserved(path: string): string {
  const plain = path.replace(/%(?=[0-9a-f]?%)/gi, "%25");
  return plain.replace(/%([0-9a-f]{2})/gi, (encoded, digits: string) => {
    const character = String.fromCharCode(Number.parseInt(digits, 16));
    return /[A-Za-z0-9\-._~]/.test(character) ? character : encoded;
  });
}

/** RFC 3986 §5.2.4; a segment's parameters do not save it from being a dot segment. */
function resolveDots(path: string): string {
  if (!path.includes("/.")) return path;
  const segments = path.split("/");
  const kept: string[] = [];
  segments.forEach((segment, index) => {
    if (index === 0) return;
    const name = segment.split(";", 1)[0]!;
    const isLast = index === segments.length - 1;
    if (name === ".") {
      if (isLast) kept.push("");
    } else if (name === "..") {
      kept.pop();
      if (isLast) kept.push("");
    } else kept.push(segment);
  });
  return `/${kept.join("/")}`;
}
