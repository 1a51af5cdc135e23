/** Names and values of headers that a VirtualService sets, and matches by. */

const TOKEN = /^[!#$%&'*+\-.^_`|~A-Za-z0-9]+$/;
const PSEUDO: ReadonlySet<string> = new Set([
  ":method",
  ":scheme",
  ":authority",
  ":path",
  ":status",
]);
const CLAIM = /^@request\.auth\.claims(\.|\[).+/;
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

export function isAuthority(name: string): boolean {
  return /^(:authority|host)$/i.test(name);
}

/** A claim of a verified token in the place of a header. */
export function isClaim(name: string): boolean {
  return CLAIM.test(name);
}

/** What is wrong with the name of a header that is matched. */
export function matchedNameProblem(name: string): string | undefined {
  if (name === "") return "has no name of a header";
  if (isClaim(name) || PSEUDO.has(name) || TOKEN.test(name)) return undefined;
  return "is no name of a header";
}

/** …of a header that is set or added in a request, where the authority may be, too. */
export function setNameProblem(name: string): string | undefined {
  return isAuthority(name) ? undefined : changedNameProblem(name);
}

/** …of a header that is removed, or changed in a response. */
export function changedNameProblem(name: string): string | undefined {
  if (name === "") return "has no name of a header";
  if (name.startsWith(":") || isAuthority(name)) return "is no header that may be changed";
  return undefined;
}

/** …of a header in a CORS list. */
export function corsNameProblem(name: string): string | undefined {
  return name === "*" || TOKEN.test(name) ? undefined : "is no name of a header";
}

/**
 * What is wrong with a value, which may have variables: `%VAR%`, `%VAR(a)%`, `%VAR(["a", "b"])%`;
 * `%%` is one %. Which variables there are is not looked at.
 */
export function valueProblem(value: string): string | undefined {
  if (CONTROL.test(value)) return "has a character that no header may have";
  const string = String.raw`"(?:\\.|[^"\\)])*"?`;
  const list = String.raw`\s*\[\s*${string}\s*(?:,\s*${string}\s*)*\]\s*`;
  const bare = String.raw`\s*[^\s[](?:\\.|[^\\)"])*`;
  const variable = new RegExp(String.raw`%(?:%|[^%(]*%|[^%(]*\((?:${list}|${bare})\)%)`, "g");
  return value.replace(variable, "").includes("%")
    ? "has a % that begins no variable: write %% for one"
    : undefined;
}
