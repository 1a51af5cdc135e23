/**
 * `rules[].matches[]` of an HTTPRoute, with the defaults that an API server would have filled in.
 *
 * A rule with an expression that is not RE2 is dropped (D11): it must not match more, or less, than
 * its author meant.
 */
import { RE2JS } from "re2js";
import type { HeaderMatch, HTTPRouteMatch, HTTPRouteRule } from "../api/http-route.ts";
import type { FieldPath } from "../api/object.ts";
import type { HttpMatch, PathMatch, StringMatchType, ValueMatch } from "../model/route.ts";
import type { RouteContext } from "./route-context.ts";

const ANY_PATH: PathMatch = { type: "PathPrefix", value: "/" };

/** `undefined`: the rule is to be dropped. */
export function translateMatches(
  rule: HTTPRouteRule,
  path: FieldPath,
  context: RouteContext,
): readonly HttpMatch[] | undefined {
  const given = rule.matches ?? [];
  const matches = (given.length > 0 ? given : [{}]).map(translateMatch);
  return areUsable(matches, path, context) ? matches : undefined;
}

function translateMatch({ path, headers, queryParams, method }: HTTPRouteMatch): HttpMatch {
  return {
    path: {
      type: (path?.type ?? ANY_PATH.type) as StringMatchType,
      value: path?.value ?? ANY_PATH.value,
    },
    headers: translateValues(headers, (name) => name.toLowerCase()),
    queryParams: translateValues(queryParams, (name) => name),
    method,
  };
}

/** Gateway API: of several entries with one name only the first counts. */
export function translateValues(
  given: readonly HeaderMatch[] | undefined,
  nameOf: (name: string) => string,
): readonly ValueMatch[] {
  const seen = new Set<string>();
  const values: ValueMatch[] = [];
  for (const { type, name: written, value } of given ?? []) {
    const name = nameOf(written);
    if (seen.has(name)) continue;
    seen.add(name);
    values.push({ type: type === "RegularExpression" ? type : "Exact", name, value });
  }
  return values;
}

/** Whether all expressions are RE2; reports those that are not. */
export function areUsable(
  matches: readonly HttpMatch[],
  path: FieldPath,
  context: RouteContext,
): boolean {
  return matches
    .map((match, index) => checkExpressions(match, [...path, "matches", index], context))
    .every(Boolean);
}

function checkExpressions(match: HttpMatch, path: FieldPath, context: RouteContext): boolean {
  let isUsable = true;
  const check = ({ type, value }: { type: string; value: string }, where: FieldPath) => {
    const problem = type === "RegularExpression" ? regexProblem(value) : undefined;
    if (problem === undefined) return;
    isUsable = false;
    const message = `"${value}" is no RE2 expression (${problem}); the rule is dropped`;
    context.flaw(message, [...path, ...where, "value"]);
  };
  check(match.path, ["path"]);
  for (const [i, header] of match.headers.entries()) check(header, ["headers", i]);
  for (const [i, param] of match.queryParams.entries()) check(param, ["queryParams", i]);
  return isUsable;
}

function regexProblem(expression: string): string | undefined {
  try {
    RE2JS.compile(expression);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
