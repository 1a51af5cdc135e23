/**
 * Routes as the Gateway API describes them, written as plainly as can be: everything that matches,
 * sorted by everything that is said about precedence. It shares no code with `src/policy`.
 */
import type {
  AttachedRoute,
  ConnectionRoute,
  HttpMatch,
  HttpRoute,
  Route,
} from "../../src/model/route.ts";
import type { ConnectionFacts, HttpFacts } from "../../src/policy/facts.ts";

export interface NaiveChoice {
  readonly route: HttpRoute | ConnectionRoute;
  /** Index of the rule. */
  readonly rule: number;
}

/** `default`: to the service itself; `none`: 404. */
export type NaiveOutcome = NaiveChoice | "default" | "none";

const KINDS = ["GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute"];

/** GEP-1294: the client's namespace before the service's own; D6: the waypoint's behind them. */
function groupOf(
  own: readonly AttachedRoute[],
  shared: readonly AttachedRoute[],
  port: number,
  identity: string | undefined,
): { readonly isGateway: boolean; readonly routes: readonly AttachedRoute[] } {
  const client = identity?.split("/")[4];
  const onPort = own.filter(({ ports }) => ports.length === 0 || ports.includes(port));
  const asConsumer = onPort.filter(({ consumer }) => consumer !== undefined && consumer === client);
  const asProducer = onPort.filter(({ consumer }) => consumer === undefined);
  const isOwned = own.some(({ consumer }) => consumer === undefined);
  if (asConsumer.length > 0) return { isGateway: false, routes: asConsumer };
  if (asProducer.length > 0 || isOwned) return { isGateway: false, routes: asProducer };
  return { isGateway: true, routes: shared };
}

export function naiveRoutes(
  own: readonly AttachedRoute[],
  shared: readonly AttachedRoute[],
  port: number,
  facts: HttpFacts,
): NaiveOutcome {
  const found = hitsInOrder(own, shared, port, facts);
  if (found === undefined) return "default";
  const [first] = found;
  return first === undefined ? "none" : { route: first.route, rule: first.rule };
}

/** The rules that match behind the chosen one, the next one first, and by what they are behind. */
export function naiveOutranked(
  own: readonly AttachedRoute[],
  shared: readonly AttachedRoute[],
  port: number,
  facts: HttpFacts,
): readonly string[] {
  const [first, ...rest] = hitsInOrder(own, shared, port, facts) ?? [];
  const told = new Map<string, string>();
  for (const hit of rest) {
    const name = `${hit.route.key} ${hit.rule}`;
    if (name === `${first!.route.key} ${first!.rule}` || told.has(name)) continue;
    const by = hit.order.findIndex((value, at) => value !== first!.order[at]);
    told.set(name, `${name}: ${criteriaOf(hit.route.kind)[by]}`);
  }
  return [...told.values()];
}

/** In words, what `Hit.order` compares. */
function criteriaOf(kind: string): readonly string[] {
  const last = ["is older", "has the name that comes first", "is the earlier rule"];
  const name = "names the host more closely";
  if (kind === "TCPRoute") return [name, ...last];
  const values = ["names a method", "asks for more headers", "asks for more query parameters"];
  const path =
    kind === "GRPCRoute"
      ? ["names more of the service", "names more of the method"]
      : ["has a path of type", "has the longer path prefix"];
  return [name, ...path, ...values, ...last];
}

/** `undefined`: no route is for it. */
function hitsInOrder(
  own: readonly AttachedRoute[],
  shared: readonly AttachedRoute[],
  port: number,
  facts: HttpFacts,
): readonly OrderedHit[] | undefined {
  const { isGateway, routes: group } = groupOf(own, shared, port, facts.sourceIdentity);
  const kind = KINDS.find((one) => group.some(({ route }) => route.kind === one));
  const ofKind = group.map(({ route }) => route).filter((route) => route.kind === kind);
  if (kind === "TLSRoute") return undefined;
  const rank = (route: { hostnames: readonly string[] }) =>
    isGateway ? nameRank(route.hostnames, facts.authority) : 1;
  const routes = ofKind.filter((route) => rank(route) > 0);
  if (routes.length === 0) return undefined;
  return routes
    .flatMap((route) => hitsOf(route, facts))
    .map((hit) => ({ ...hit, order: [-rank(hit.route), ...precedenceOf(hit)] }))
    .sort((a, b) => compare(a.order, b.order));
}

/** Likewise of a connection: by its server name, if it has one; a route's first rule counts. */
export function naiveConnection(
  own: readonly AttachedRoute[],
  shared: readonly AttachedRoute[],
  port: number,
  { sourceIdentity, serverName }: ConnectionFacts,
): NaiveOutcome {
  const { routes: group } = groupOf(own, shared, port, sourceIdentity);
  const kind = KINDS.find((one) => group.some(({ route }) => route.kind === one));
  if (kind !== "TLSRoute" && kind !== "TCPRoute") return "default";
  const rank = ({ hostnames }: Route) => {
    if (kind === "TCPRoute") return 1;
    if (serverName !== undefined) return nameRank(hostnames, serverName);
    return hostnames.length === 0 || hostnames.includes("*") ? 1 : 0;
  };
  const order = (route: Route) => [-rank(route), route.createdMs, route.key];
  const [first] = group
    .map(({ route }) => route)
    .filter((route) => route.kind === kind && rank(route) > 0)
    .sort((a, b) => compare(order(a), order(b)));
  return first === undefined ? "none" : { route: first, rule: first.rules[0]!.index };
}

/** How specific the best of the names is that takes the host; 0: none does. */
function nameRank(hostnames: readonly string[], authority: string): number {
  const host = authority.toLowerCase().replace(/:\d+$/, "");
  const ranks = (hostnames.length > 0 ? hostnames : ["*"]).map((name) => {
    if (name === host) return 1_000;
    if (name === "*") return 1;
    return name.startsWith("*.") && host.endsWith(name.slice(1)) ? name.length : 0;
  });
  return Math.max(...ranks);
}

interface Hit {
  readonly route: HttpRoute | ConnectionRoute;
  readonly rule: number;
  readonly match: HttpMatch | undefined;
  readonly index: number;
}

interface OrderedHit extends Hit {
  /** The smaller goes first. */
  readonly order: readonly (number | string)[];
}

export function isForRequests(route: HttpRoute | ConnectionRoute): route is HttpRoute {
  return route.kind === "HTTPRoute" || route.kind === "GRPCRoute";
}

function hitsOf(route: HttpRoute | ConnectionRoute, facts: HttpFacts): Hit[] {
  if (!isForRequests(route)) {
    return route.rules.slice(0, 1).map(({ index: rule }) => ({
      ...{ route, rule, match: undefined, index: 0 },
    }));
  }
  return route.rules.flatMap((rule) =>
    rule.matches.flatMap((match, index) =>
      holds(match, route.kind, facts) ? [{ route, rule: rule.index, match, index }] : [],
    ),
  );
}

const KIND_OF_PATH = ["Exact", "PathPrefix", "RegularExpression"];

/** Smaller goes first. */
function precedenceOf({ route, rule, match, index }: Hit): (number | string)[] {
  const last = [route.createdMs, route.key, rule, index];
  if (match === undefined) return last;
  const { grpc, path, method, headers, queryParams } = match;
  const byPath =
    route.kind === "GRPCRoute"
      ? [-(grpc?.service.length ?? 0), -(grpc?.method.length ?? 0)]
      : [
          KIND_OF_PATH.indexOf(path.type),
          path.type === "PathPrefix" ? -path.value.replace(/\/$/, "").length : 0,
        ];
  return [...byPath, method ? 0 : 1, -headers.length, -queryParams.length, ...last];
}

function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  const i = a.findIndex((value, at) => value !== b[at]);
  if (i < 0) return 0;
  return a[i]! < b[i]! ? -1 : 1;
}

const expressions = new Map<string, RegExp>();

function isWhole(expression: string, text: string): boolean {
  const known = expressions.get(expression) ?? new RegExp(`^(?:${expression})$`);
  expressions.set(expression, known);
  return known.test(text);
}

function holds(match: HttpMatch, kind: string, facts: HttpFacts): boolean {
  const query = new URLSearchParams(facts.query);
  const test = (seen: string | null | undefined, m: { type: string; value: string }) => {
    if (seen === null || seen === undefined) return false;
    return m.type === "Exact" ? seen === m.value : isWhole(m.value, seen);
  };
  return (
    (kind === "GRPCRoute" ? isMethod(match, facts.path) : isPath(match, facts.path)) &&
    (match.method === undefined || match.method === facts.method) &&
    match.headers.every((m) => test(facts.header(m.name), m)) &&
    match.queryParams.every((m) => test(query.get(m.name), m))
  );
}

function isPath({ path: { type, value } }: HttpMatch, path: string): boolean {
  if (type === "Exact") return path === value;
  if (type === "RegularExpression") return isWhole(value, path);
  const prefix = value.replace(/\/$/, "");
  return path === prefix || path.startsWith(`${prefix}/`);
}

/** gRPC over HTTP/2: the path is `/<service>/<method>`. */
function isMethod({ grpc }: HttpMatch, path: string): boolean {
  const { type = "Exact", service = "", method = "" } = grpc ?? {};
  if (service === "" && method === "") return true;
  const [before, seenService = "", seenMethod = "", ...rest] = path.split("/");
  const is = (wanted: string, seen: string) =>
    wanted === "" ? seen !== "" : type === "Exact" ? wanted === seen : isWhole(wanted, seen);
  if (before !== "" || rest.length > 0) return false;
  return is(service, seenService) && is(method, seenMethod);
}
