/** Routes of a VirtualService that no request can come to: an earlier one takes all of it. */
import { isDeepStrictEqual } from "node:util";
import type { FieldPath } from "../object.ts";
import { type Problems, warning } from "./problem.ts";
import type { StringMatch } from "./string-match.ts";
import type { HttpMatch } from "./virtual-route.ts";

interface Route {
  readonly match?: readonly unknown[];
}

/** Of routes of any kind: the first that matches is taken. */
export function* unreachableProblems(routes: readonly (Route | null)[], path: FieldPath): Problems {
  const seen: unknown[] = [];
  let all = -1;
  for (const [i, route] of routes.entries()) {
    if (route === null) continue;
    const at = [...path, i];
    const { match = [] } = route;
    if (all >= 0) {
      yield warning(at, `is never reached: item ${all} has no match, and so takes all`);
      continue;
    }
    if (match.length === 0) all = i;
    for (const [j, one] of match.entries()) {
      const own = withoutName(one);
      if (seen.some((other) => isDeepStrictEqual(own, other))) {
        yield warning([...at, "match", j], "has no effect: an earlier match is the same");
      } else seen.push(own);
    }
  }
}

function withoutName(match: unknown): unknown {
  if (typeof match !== "object" || match === null) return match;
  const { name: _, ...rest } = match as { name?: string };
  return rest;
}

interface Prefixed {
  readonly match: HttpMatch;
  readonly prefix: string;
  readonly path: FieldPath;
}

/** Of HTTP routes: a prefix before a longer one takes what that would. */
export function* coveredProblems(
  routes: readonly ({ readonly match?: readonly (HttpMatch | null)[] } | null)[],
  path: FieldPath,
): Problems {
  const earlier: Prefixed[] = [];
  for (const [i, route] of routes.entries()) {
    for (const [j, match] of (route?.match ?? []).entries()) {
      const prefix = match?.uri?.prefix ?? "";
      if (match === null || prefix === "") continue;
      const own = { match, prefix, path: [...path, i, "match", j] };
      const covering = earlier.find((one) => isCovered(own, one));
      if (covering !== undefined) {
        yield warning(own.path, `has no effect: the prefix ${covering.prefix} before it takes it`);
      }
      earlier.push(own);
    }
  }
}

function isCovered({ match, prefix }: Prefixed, by: Prefixed): boolean {
  if (prefix === by.prefix || !prefix.startsWith(by.prefix)) return false;
  if ((match.port ?? 0) !== (by.match.port ?? 0)) return false;
  return (
    isCoveredText(match.method ?? { exact: "GET" }, by.match.method ?? { exact: "GET" }) &&
    isCoveredText(match.authority, by.match.authority) &&
    isCoveredMap(match.headers, by.match.headers) &&
    isCoveredMap(match.queryParams, by.match.queryParams) &&
    isCoveredMap(match.withoutHeaders, by.match.withoutHeaders)
  );
}

type Matches = Readonly<Record<string, StringMatch | null>> | undefined;

function isCoveredMap(own: Matches = {}, by: Matches = {}): boolean {
  const names = Object.keys(by);
  if (names.length !== Object.keys(own).length) return false;
  return names.every((name) => Object.hasOwn(own, name) && isCoveredText(own[name], by[name]));
}

/** Regular expressions are not looked into: two of them are taken for the same. */
function isCoveredText(
  own: StringMatch | null | undefined,
  by: StringMatch | null | undefined,
): boolean {
  return textOf(by).startsWith(textOf(own));
}

function textOf(match: StringMatch | null | undefined): string {
  if ((match?.exact ?? "") !== "") return `exact:${match!.exact}`;
  return (match?.prefix ?? "") === "" ? "" : `prefix:${match!.prefix}`;
}
