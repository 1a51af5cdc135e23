/**
 * `Path` of a session's cookie: what the rule's match has of the request's path, so that routes on
 * other paths do not get it (GEP-1619, "Path").
 */
import type { HttpMatch } from "../model/route.ts";
import { compileRegex } from "../policy/match/regex.ts";

interface Candidate {
  readonly matches: (path: string) => boolean;
  readonly path: string;
}

const EVERYWHERE = "/";

/** What may stand in a cookie's attribute. */
const SAFE = /^\/[\x21-\x3a\x3c-\x7e]*$/;

export class CookiePaths {
  readonly #candidates: readonly Candidate[];

  constructor(matches: readonly HttpMatch[]) {
    const of = (type: HttpMatch["path"]["type"]) =>
      matches.filter(({ path }) => path.type === type).map(({ path }) => path.value);
    const prefixes = of("PathPrefix").map((value) => value.replace(/\/$/, ""));
    this.#candidates = [
      ...of("Exact").map((path) => ({ matches: (seen: string) => seen === path, path })),
      ...prefixes
        .sort((a, b) => b.length - a.length)
        .map((path) => ({ matches: (seen: string) => isBelow(seen, path), path })),
      ...of("RegularExpression").map((value) => {
        const expression = compileRegex(value);
        const matches = (seen: string) => expression?.matches(seen) ?? false;
        return { matches, path: literalPrefix(value) };
      }),
    ];
  }

  /** For a request that the rule has matched. */
  of(requestPath: string): string {
    const path = this.#candidates.find(({ matches }) => matches(requestPath))?.path;
    return path !== undefined && SAFE.test(path) ? path : EVERYWHERE;
  }
}

function isBelow(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/");
}

/** Whole elements before the first character that stands for others. */
function literalPrefix(expression: string): string {
  const text = expression.replace(/^\^/, "").replace(/\$$/, "");
  const end = text.search(/[\\.*+?()[\]{}|^$]/);
  if (end < 0) return text;
  return text.includes("|") ? "" : text.slice(0, text.lastIndexOf("/", end - 1));
}
