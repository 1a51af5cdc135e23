/** What a schema cannot say of a GRPCRoute. */
import type { FieldPath } from "../object.ts";
import { matchCountProblems } from "./http-route.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { filterProblems } from "./route-filters.ts";
import { routeProblems } from "./route-parents.ts";
import { sessionProblems } from "./session-persistence.ts";
import { unique } from "./uniqueness.ts";

interface MethodMatch {
  readonly type?: string;
  readonly service?: string;
  readonly method?: string;
}

interface Match {
  readonly method?: MethodMatch;
  readonly headers?: readonly { readonly name: string }[];
}

/** Field of a filter by its type. */
const FILTER_FIELDS: Readonly<Record<string, string>> = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestMirror: "requestMirror",
  ExtensionRef: "extensionRef",
};
const FILTERS = ["spec.rules[].filters[]", "spec.rules[].backendRefs[].filters[]"];

const SERVICE = /^\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$/i;
const METHOD = /^[A-Za-z_][A-Za-z_0-9]*$/;

export function* grpcRouteProblems(route: unknown): Problems {
  yield* routeProblems(route);
  yield* filterProblems(route);
  yield* matchCountProblems(route, 0);
  for (const place of FILTERS) {
    for (const { path, value } of each<Record<string, unknown>>(route, place)) {
      yield* fieldProblems(value, path);
    }
  }
  for (const { path, value } of each<object>(route, "spec.rules[]")) {
    yield* sessionProblems(value, path);
  }
  for (const { path, value } of each<Match>(route, "spec.rules[].matches[]")) {
    const named = (name: string) => `a condition on ${name}`;
    yield* unique(value.headers, [...path, "headers"], ({ name }) => name, named, ["name"]);
    if (value.method !== undefined) yield* methodProblems(value.method, [...path, "method"]);
  }
}

function* fieldProblems(filter: Readonly<Record<string, unknown>>, path: FieldPath): Problems {
  const own = FILTER_FIELDS[String(filter.type)];
  for (const [type, field] of Object.entries(FILTER_FIELDS)) {
    const isThere = filter[field] !== undefined;
    if (field === own && !isThere) {
      yield problem([...path, field], `is required for a filter of type ${type}`);
    }
    if (field !== own && isThere) yield problem([...path, field], `is for the type ${type} only`);
  }
}

function* methodProblems({ type, service, method }: MethodMatch, path: FieldPath): Problems {
  // Without a type an API server takes the type Exact, and then one of the two is needed.
  if (service === undefined && method === undefined) {
    yield problem(path, "needs a service or a method");
  }
  if ((type ?? "Exact") !== "Exact") return;
  if (service !== undefined && !SERVICE.test(service)) {
    yield problem([...path, "service"], "must be a name such as package.Service");
  }
  if (method !== undefined && !METHOD.test(method)) {
    yield problem([...path, "method"], "must be a name of letters, digits and _");
  }
}
