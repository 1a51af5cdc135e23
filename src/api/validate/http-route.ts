/** What a schema cannot say of an HTTPRoute. */

import { parseGoDuration } from "../../kit/go-duration.ts";
import type { FieldPath } from "../object.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { filterProblems, headerValueProblems } from "./route-filters.ts";
import { routeProblems } from "./route-parents.ts";
import { type SessionPersistence, sessionProblems } from "./session-persistence.ts";
import { unique } from "./uniqueness.ts";

interface Match {
  readonly path?: { readonly type?: string };
  readonly headers?: readonly { readonly name: string; readonly value?: string }[];
  readonly queryParams?: readonly { readonly name: string }[];
}

interface Filter {
  readonly type: string;
  readonly requestRedirect?: { readonly path?: { readonly replacePrefixMatch?: string } };
  readonly urlRewrite?: { readonly path?: { readonly replacePrefixMatch?: string } };
}

interface Rule {
  readonly matches?: readonly Match[];
  readonly filters?: readonly Filter[];
  readonly backendRefs?: readonly { readonly filters?: readonly Filter[] }[];
  readonly timeouts?: { readonly request?: string; readonly backendRequest?: string };
  readonly retry?: { readonly codes?: readonly number[] };
  readonly sessionPersistence?: SessionPersistence;
}

/** Of all rules together. */
const MATCHES_MAX = 128;

export function* httpRouteProblems(route: unknown): Problems {
  yield* routeProblems(route);
  yield* filterProblems(route);
  yield* matchCountProblems(route, 1);
  for (const { path, value } of each<Rule>(route, "spec.rules[]")) {
    yield* ruleProblems(value, path);
    yield* sessionProblems(value, path);
  }
}

/** Also of a GRPCRoute. `ownMatches`: of a rule that is without any. */
export function* matchCountProblems(route: unknown, ownMatches: number): Problems {
  for (const { path, value } of each<readonly Rule[]>(route, "spec.rules")) {
    const count = value.reduce((sum, { matches }) => sum + (matches?.length ?? ownMatches), 0);
    if (count <= MATCHES_MAX) continue;
    yield problem(path, `has ${count} matches in all; at most ${MATCHES_MAX} are allowed`);
  }
}

function* ruleProblems(rule: Rule, path: FieldPath): Problems {
  for (const [i, match] of (rule.matches ?? []).entries()) {
    const at = [...path, "matches", i];
    // Header names are compared as they are written, as an API server does.
    for (const field of ["headers", "queryParams"] as const) {
      const named = (name: string) => `a condition on ${name}`;
      yield* unique(match[field], [...at, field], ({ name }) => name, named, ["name"]);
    }
    for (const [j, header] of (match.headers ?? []).entries()) {
      yield* headerValueProblems(header, [...at, "headers", j]);
    }
  }
  yield* prefixProblems(rule, rule.filters, [...path, "filters"]);
  // API servers look at the backends' when one of them has such a filter, and only then.
  const rewriting = (rule.backendRefs ?? []).map(({ filters }, i) => [
    ...prefixProblems(rule, filters, [...path, "backendRefs", i, "filters"]),
  ]);
  const found = rewriting.filter((of) => of.length > 0);
  if (found.length === 1) yield* found[0]!;
  const codes = rule.retry?.codes;
  yield* unique(codes, [...path, "retry", "codes"], String, (code) => code);
  yield* timeoutProblems(rule, path);
}

/** What is replaced is the prefix that has matched: there has to be exactly one. */
function* prefixProblems(
  { matches }: Rule,
  filters: readonly Filter[] | undefined,
  path: FieldPath,
): Problems {
  for (const [i, { requestRedirect, urlRewrite }] of (filters ?? []).entries()) {
    for (const [field, filter] of Object.entries({ requestRedirect, urlRewrite })) {
      if (filter?.path?.replacePrefixMatch === undefined) continue;
      // A rule without matches, and a match without a path, are of the prefix "/".
      const [only, ...more] = matches ?? [{}];
      const type = only === undefined ? "" : (only.path?.type ?? "PathPrefix");
      if (more.length === 0 && type === "PathPrefix") continue;
      const needed = "needs exactly one match in the rule, with a path of type PathPrefix";
      yield problem([...path, i, field, "path", "replacePrefixMatch"], needed);
    }
  }
}

function* timeoutProblems({ timeouts }: Rule, path: FieldPath): Problems {
  const request = parseGoDuration(timeouts?.request ?? "0s") ?? 0;
  const backend = parseGoDuration(timeouts?.backendRequest ?? "0s") ?? 0;
  if (request === 0 || backend <= request) return;
  const limit = `is longer than request (${timeouts?.request}), of which it is a part`;
  yield problem([...path, "timeouts", "backendRequest"], limit);
}
