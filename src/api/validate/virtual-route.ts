/** An HTTP route of a VirtualService. */
import type { FieldPath } from "../object.ts";
import { subsetNameProblems } from "./destination-rule.ts";
import { isDnsLabel, wildcardHostProblem } from "./dns-names.ts";
import { gatewayNameProblems } from "./gateway-names.ts";
import {
  changedNameProblem,
  isAuthority,
  matchedNameProblem,
  setNameProblem,
  valueProblem,
} from "./header-values.ts";
import { durationProblems, labelProblems, portProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem, warning } from "./problem.ts";
import { regexMatchProblems, type StringMatch, stringMatchProblems } from "./string-match.ts";
import {
  type CorsPolicy,
  corsProblems,
  type DirectResponse,
  directResponseProblems,
  type Fault,
  faultProblems,
  type Redirect,
  type Retries,
  type Rewrite,
  redirectProblems,
  retryProblems,
  rewriteProblems,
} from "./virtual-actions.ts";

type StringMatches = Readonly<Record<string, StringMatch | null>>;

export interface HttpMatch {
  readonly name?: string;
  readonly uri?: StringMatch;
  readonly scheme?: StringMatch;
  readonly method?: StringMatch;
  readonly authority?: StringMatch;
  readonly headers?: StringMatches;
  readonly withoutHeaders?: StringMatches;
  readonly queryParams?: StringMatches;
  readonly port?: number;
  readonly gateways?: readonly string[];
  readonly sourceLabels?: Readonly<Record<string, string>>;
  readonly sourceNamespace?: string;
}

interface HeaderOperations {
  readonly set?: Readonly<Record<string, string>>;
  readonly add?: Readonly<Record<string, string>>;
  readonly remove?: readonly string[];
}

interface Headers {
  readonly request?: HeaderOperations;
  readonly response?: HeaderOperations;
}

export interface Destination {
  readonly host?: string;
  readonly subset?: string;
  readonly port?: { readonly number?: number };
}

export interface WeightedDestination {
  readonly destination?: Destination;
  readonly weight?: number;
  readonly headers?: Headers;
}

export interface HttpRoute {
  readonly name?: string;
  readonly match?: readonly (HttpMatch | null)[];
  readonly route?: readonly (WeightedDestination | null)[];
  readonly redirect?: Redirect;
  readonly directResponse?: DirectResponse;
  readonly delegate?: object;
  readonly rewrite?: Rewrite;
  readonly timeout?: string;
  readonly retries?: Retries;
  readonly fault?: Fault;
  readonly mirror?: Destination;
  readonly mirrors?: readonly { destination?: Destination; percentage?: { value?: number } }[];
  readonly mirrorPercent?: number;
  readonly mirrorPercentage?: { readonly value?: number };
  readonly corsPolicy?: CorsPolicy;
  readonly headers?: Headers;
}

/** `isDelegate`: of a VirtualService without hosts. */
export function* httpRouteProblems(
  http: HttpRoute,
  path: FieldPath,
  isDelegate: boolean,
): Problems {
  yield* conflictProblems(http, path, isDelegate);
  for (const [i, match] of (http.match ?? []).entries()) {
    if (match !== null) yield* matchProblems(match, [...path, "match", i]);
  }
  yield* headerProblems(http.headers, [...path, "headers"]);
  yield* actionProblems(http, path);
  yield* mirrorProblems(http, path);
  yield* authorityProblems(http, path);
  yield* destinationsProblems(http.route ?? [], [...path, "route"]);
  yield* durationProblems(http, ["timeout"], path);
}

function* conflictProblems(http: HttpRoute, path: FieldPath, isDelegate: boolean): Problems {
  const { delegate, redirect, directResponse, route = [] } = http;
  if (delegate !== undefined && !isDelegate) {
    for (const field of ["redirect", "route"] as const) {
      if (http[field] === undefined) continue;
      yield problem([...path, field], "is the delegate's to say");
    }
    return;
  }
  if (delegate !== undefined) yield problem([...path, "delegate"], "is not for a delegate itself");
  const answer = redirect === undefined ? "directResponse" : "redirect";
  if (redirect !== undefined || directResponse !== undefined) {
    const others = ["route", "fault", "rewrite", "redirect", "directResponse"] as const;
    for (const other of others) {
      const isThere = other === "route" ? route.length > 0 : http[other] !== undefined;
      if (other === answer || !isThere) continue;
      yield problem([...path, other], `and ${answer} exclude each other`);
    }
  } else if (route.length === 0) {
    yield problem([...path, "route"], "is required, or a redirect or directResponse");
  }
  if (http.mirror !== undefined && (http.mirrors?.length ?? 0) > 0) {
    yield problem([...path, "mirrors"], "and mirror exclude each other");
  }
}

function* matchProblems(match: HttpMatch, path: FieldPath): Problems {
  for (const field of ["headers", "withoutHeaders"] as const) {
    for (const [name, value] of Object.entries(match[field] ?? {})) {
      const at = [...path, field, name];
      const wrong = matchedNameProblem(name);
      if (wrong !== undefined) yield problem(at, wrong);
      if (value === null && field === "headers") yield problem(at, "must not be null");
      // "*" is no expression here: it asks whether the header is there.
      const isPresence = field === "withoutHeaders" && value?.regex === "*";
      if (!isPresence) yield* stringMatchProblems(value, at);
    }
  }
  yield* regexMatchProblems(match.uri, [...path, "uri"]);
  for (const field of ["scheme", "method", "authority"] as const) {
    yield* stringMatchProblems(match[field], [...path, field]);
  }
  for (const [name, value] of Object.entries(match.queryParams ?? {})) {
    yield* stringMatchProblems(value, [...path, "queryParams", name]);
  }
  if ((match.port ?? 0) !== 0) yield* portProblems(match, ["port"], path);
  yield* labelProblems(match.sourceLabels, [...path, "sourceLabels"]);
  yield* gatewayNameProblems(match.gateways ?? [], [...path, "gateways"]);
  const { sourceNamespace = "" } = match;
  if (sourceNamespace !== "" && !isDnsLabel(sourceNamespace)) {
    yield problem([...path, "sourceNamespace"], "must be a namespace");
  }
}

function* headerProblems(headers: Headers | undefined, path: FieldPath): Problems {
  for (const side of ["request", "response"] as const) {
    const operations = headers?.[side] ?? {};
    const set = side === "request" ? setNameProblem : changedNameProblem;
    for (const field of ["set", "add"] as const) {
      for (const [name, value] of Object.entries(operations[field] ?? {})) {
        const wrong = set(name) ?? valueProblem(value);
        if (wrong !== undefined) yield problem([...path, side, field, name], wrong);
      }
    }
    for (const [i, name] of (operations.remove ?? []).entries()) {
      const wrong = changedNameProblem(name);
      if (wrong !== undefined) yield problem([...path, side, "remove", i], wrong);
    }
  }
}

function* actionProblems(http: HttpRoute, path: FieldPath): Problems {
  const { corsPolicy, fault, redirect, directResponse, retries, rewrite, match = [] } = http;
  if (corsPolicy !== undefined) yield* corsProblems(corsPolicy, [...path, "corsPolicy"]);
  if (fault !== undefined) yield* faultProblems(fault, [...path, "fault"]);
  const isPrefixMatched = match.every((one) => !one?.uri || one.uri.prefix !== undefined);
  if (redirect !== undefined) {
    yield* redirectProblems(redirect, [...path, "redirect"], isPrefixMatched);
  }
  if (directResponse !== undefined) {
    yield* directResponseProblems(directResponse, [...path, "directResponse"]);
  }
  if (retries !== undefined) yield* retryProblems(retries, [...path, "retries"]);
  if (rewrite !== undefined) yield* rewriteProblems(rewrite, [...path, "rewrite"]);
}

function* mirrorProblems(http: HttpRoute, path: FieldPath): Problems {
  const { mirror, mirrors = [], mirrorPercent, mirrorPercentage } = http;
  if (mirrorPercent !== undefined) {
    const at = [...path, "mirrorPercent"];
    if (mirrorPercent > 100) yield problem(at, "must be 100 at most");
    yield warning(at, "is a field of old: use mirrorPercentage");
  }
  yield* percentProblems(mirrorPercentage?.value, [...path, "mirrorPercentage", "value"]);
  if (mirror !== undefined) yield* destinationProblems(mirror, [...path, "mirror"]);
  for (const [i, one] of mirrors.entries()) {
    const at = [...path, "mirrors", i];
    if (one?.destination === undefined) yield problem([...at, "destination"], "is required");
    else yield* destinationProblems(one.destination, [...at, "destination"]);
    yield* percentProblems(one?.percentage?.value, [...at, "percentage", "value"]);
  }
}

function* percentProblems(value: number | undefined, path: FieldPath): Problems {
  if (value !== undefined && (value < 0 || value > 100)) {
    yield problem(path, "must be from 0 to 100");
  }
}

/** A request has one authority. */
function* authorityProblems({ rewrite, headers }: HttpRoute, path: FieldPath): Problems {
  let isSet = (rewrite?.authority ?? "") !== "";
  for (const field of ["set", "add"] as const) {
    for (const name of Object.keys(headers?.request?.[field] ?? {})) {
      if (!isAuthority(name)) continue;
      if (isSet) yield problem([...path, "headers", "request", field, name], "is set already");
      isSet = true;
    }
  }
}

/** Also of TCP and TLS routes. */
export function* destinationsProblems(
  destinations: readonly (WeightedDestination | null)[],
  path: FieldPath,
): Problems {
  for (const [i, one] of destinations.entries()) {
    const at = [...path, i];
    if (one?.destination === undefined) yield problem([...at, "destination"], "is required");
    else yield* destinationProblems(one.destination, [...at, "destination"]);
    yield* headerProblems(one?.headers, [...at, "headers"]);
    if ((one?.weight ?? 0) < 0) yield problem([...at, "weight"], "must not be negative");
  }
  const sum = destinations.reduce((all, one) => all + (one?.weight ?? 0), 0);
  if (destinations.length > 1 && sum === 0) {
    yield problem(path, "has no weights: several destinations need some");
  }
}

function* destinationProblems(destination: Destination, path: FieldPath): Problems {
  const { host = "", subset = "", port } = destination;
  const wrong = host === "*" ? 'must not be "*"' : wildcardHostProblem(host);
  if (wrong !== undefined) yield problem([...path, "host"], wrong);
  if (subset !== "") yield* subsetNameProblems(subset, [...path, "subset"]);
  if (port === undefined) return;
  for (const { path: at } of each({ number: 0, ...port }, "number", [...path, "port"])) {
    yield* portProblems({ number: port.number ?? 0 }, ["number"], at.slice(0, -1));
  }
}
