/**
 * `rules[].matches[]` of an HTTPRoute, with the defaults that an API server would have filled in.
 *
 * A rule with an expression that is not RE2 is dropped (D11): it must not match more, or less, than
 * its author meant.
 */
import { RE2JS } from "re2js";
import type { HTTPRouteMatch, HTTPRouteRule } from "../api/http-route.ts";
import type { FieldPath } from "../api/object.ts";
import type { HttpMatch, PathMatch, StringMatchType, ValueMatch } from "../model/route.ts";
import type { Findings } from "./findings.ts";

const ANY_PATH: PathMatch = { type: "PathPrefix", value: "/" };

/** `undefined`: the rule is to be dropped. */
export function translateMatches(
  rule: HTTPRouteRule,
  path: FieldPath,
  findings: Findings,
): readonly HttpMatch[] | undefined {
  const given = rule.matches ?? [];
  const matches = (given.length > 0 ? given : [{}]).map(translateMatch);
  const isUsable = matches
    .map((match, index) => checkExpressions(match, [...path, "matches", index], findings))
    .every(Boolean);
  return isUsable ? matches : undefined;
}

function translateMatch(match: HTTPRouteMatch): HttpMatch {
  const { path, headers = [], queryParams = [], method } = match;
  return {
    path: {
      type: (path?.type ?? ANY_PATH.type) as StringMatchType,
      value: path?.value ?? ANY_PATH.value,
    },
    headers: firstOfEachName(headers.map((h) => valueMatch(h, h.name.toLowerCase()))),
    queryParams: firstOfEachName(queryParams.map((q) => valueMatch(q, q.name))),
    method,
  };
}

function valueMatch(
  { type, value }: { readonly type?: string; readonly value: string },
  name: string,
): ValueMatch {
  return { type: type === "RegularExpression" ? type : "Exact", name, value };
}

/** Gateway API: of several entries with one name only the first counts. */
function firstOfEachName(matches: readonly ValueMatch[]): readonly ValueMatch[] {
  const seen = new Set<string>();
  return matches.filter(({ name }) => {
    const isNew = !seen.has(name);
    seen.add(name);
    return isNew;
  });
}

function checkExpressions(match: HttpMatch, path: FieldPath, findings: Findings): boolean {
  let isUsable = true;
  const check = ({ type, value }: { type: string; value: string }, where: FieldPath) => {
    const problem = type === "RegularExpression" ? regexProblem(value) : undefined;
    if (problem === undefined) return;
    isUsable = false;
    const message = `"${value}" is no RE2 expression (${problem}); the rule is dropped`;
    findings.report("WS0102", message, [...path, ...where, "value"]);
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
