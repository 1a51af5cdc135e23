/** Filters of HTTPRoutes and GRPCRoutes, at rules and at backends. */
import type { FieldPath } from "../object.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { backendProblems } from "./route-parents.ts";
import { unique, uniqueTexts } from "./uniqueness.ts";

interface Header {
  readonly name: string;
  readonly value?: string;
}

interface HeaderModifier {
  readonly set?: readonly Header[];
  readonly add?: readonly Header[];
  readonly remove?: readonly string[];
}

interface RequestMirror {
  readonly backendRef: object;
  readonly percent?: number;
  readonly fraction?: { readonly numerator: number; readonly denominator?: number };
}

interface ExternalAuth {
  readonly protocol: string;
  readonly backendRef: object;
  readonly grpc?: object;
  readonly http?: object;
}

interface Filter {
  readonly type: string;
}

/** Of which a list has one at most. */
const SINGLE_TYPES: ReadonlySet<string> = new Set([
  "CORS",
  "RequestHeaderModifier",
  "ResponseHeaderModifier",
  "RequestRedirect",
  "URLRewrite",
]);
const PLACES = ["spec.rules[].filters", "spec.rules[].backendRefs[].filters"];
const DENOMINATOR = 100;

export function* filterProblems(route: unknown): Problems {
  for (const place of PLACES) {
    for (const { path, value } of each<readonly Filter[]>(route, place)) {
      yield* listProblems(value, path);
      for (const [i, filter] of value.entries()) yield* oneProblems(filter, [...path, i]);
    }
  }
}

function* listProblems(filters: readonly Filter[], path: FieldPath): Problems {
  yield* unique(
    filters,
    path,
    ({ type }) => (SINGLE_TYPES.has(type) ? type : undefined),
    (type) => `a filter of type ${type}`,
    ["type"],
  );
  const types = filters.map(({ type }) => type);
  const redirect = types.indexOf("RequestRedirect");
  if (redirect >= 0 && types.includes("URLRewrite")) {
    yield problem([...path, redirect], "a redirect and a URLRewrite exclude each other");
  }
}

function* oneProblems(filter: Filter, path: FieldPath): Problems {
  for (const field of ["requestHeaderModifier", "responseHeaderModifier"]) {
    for (const { path: at, value } of each<HeaderModifier>(filter, field, path)) {
      yield* modifierProblems(value, at);
    }
  }
  for (const { path: at, value } of each<RequestMirror>(filter, "requestMirror", path)) {
    yield* mirrorProblems(value, at);
  }
  for (const { path: at, value } of each<ExternalAuth>(filter, "externalAuth", path)) {
    yield* externalAuthProblems(value, at);
  }
  for (const field of ["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders"]) {
    for (const { path: at, value } of each<readonly string[]>(filter, `cors.${field}`, path)) {
      yield* uniqueTexts(value, at);
      if (field === "exposeHeaders" || value.length < 2 || !value.includes("*")) continue;
      yield problem([...at, value.indexOf("*")], '"*" stands for all, so it stands alone');
    }
  }
}

function* modifierProblems(modifier: HeaderModifier, path: FieldPath): Problems {
  for (const list of ["set", "add"] as const) {
    const header = (name: string) => `the header ${name}`;
    yield* unique(modifier[list], [...path, list], ({ name }) => name, header, ["name"]);
    for (const [i, one] of (modifier[list] ?? []).entries()) {
      yield* headerValueProblems(one, [...path, list, i]);
    }
  }
  yield* uniqueTexts(modifier.remove, [...path, "remove"]);
}

/** Visible ASCII, with single spaces and tabs between. */
const HEADER_VALUE = /^[!-~](?:[\t ]?[!-~])*$/;

/** Of a header that is set, or matched by its whole value. */
export function* headerValueProblems({ value }: Header, path: FieldPath): Problems {
  if (value === undefined || HEADER_VALUE.test(value)) return;
  const allowed = "visible ASCII characters, with one space or tab at most between two of them";
  yield problem([...path, "value"], `must be ${allowed}`);
}

function* mirrorProblems(mirror: RequestMirror, path: FieldPath): Problems {
  const { backendRef, percent, fraction } = mirror;
  yield* backendProblems(backendRef, [...path, "backendRef"]);
  if (fraction === undefined) return;
  if (percent !== undefined) {
    yield problem([...path, "fraction"], "and percent exclude each other");
  }
  const { numerator, denominator = DENOMINATOR } = fraction;
  if (numerator > denominator) {
    const limit = `is ${numerator}, more than the denominator ${denominator}`;
    yield problem([...path, "fraction", "numerator"], limit);
  }
}

function* externalAuthProblems(auth: ExternalAuth, path: FieldPath): Problems {
  const { protocol, backendRef, grpc, http } = auth;
  yield* backendProblems(backendRef, [...path, "backendRef"]);
  for (const list of [
    "grpc.allowedHeaders",
    "http.allowedHeaders",
    "http.allowedResponseHeaders",
  ]) {
    for (const { path: at, value } of each<readonly string[]>(auth, list, path)) {
      yield* uniqueTexts(value, at);
    }
  }
  for (const [name, field, value] of [
    ["GRPC", "grpc", grpc],
    ["HTTP", "http", http],
  ] as const) {
    if (protocol === name && value === undefined) {
      yield problem([...path, field], `is required for the protocol ${name}`);
    }
    if (protocol !== name && value !== undefined) {
      yield problem([...path, field], `is for the protocol ${name} only`);
    }
  }
}
