/**
 * The compiled tables and the trace against the plainest reading of the Gateway API, on random
 * routes of all kinds and random requests. Every field must decide often enough for the comparison
 * to mean something.
 *
 * `WAYSTONE_SEED` repeats a run; `WAYSTONE_PAIRS` is the number of (routes, request) pairs.
 */
import { expect, test } from "vitest";
import type {
  AttachedRoute,
  ConnectionRoute,
  GrpcMethodMatch,
  HttpMatch,
  HttpRoute,
  Route,
  ValueMatch,
} from "../../src/model/route.ts";
import { decide } from "../../src/policy/decide.ts";
import { explain } from "../../src/policy/explain.ts";
import type { Hop, HttpFacts } from "../../src/policy/facts.ts";
import { renderDecision } from "../../src/policy/render.ts";
import type { ConnectionChoice, RouteChoice } from "../../src/policy/verdict.ts";
import { Random } from "../fuzz/random.ts";
import { HTTP_HOP, request, routeOf, SERVICE, snapshotOf, WAYPOINT } from "./mesh.ts";
import { isForRequests, type NaiveOutcome, naiveRoutes } from "./naive-routes.ts";

const PAIRS = Number(process.env.WAYSTONE_PAIRS ?? 100_000);
const SEED = Number(process.env.WAYSTONE_SEED ?? Date.now() % 1_000_000);
const REQUESTS_PER_SET = 10;
/** Of 100,000 pairs, how many each field has to decide. */
const DECIDED_MIN = (1_000 * PAIRS) / 100_000;

const random = new Random(SEED);
const chance = (oneIn: number) => random.below(oneIn) === 0;
const times = <T>(max: number, make: (index: number) => T): T[] =>
  Array.from({ length: 1 + random.below(max) }, (_, index) => make(index));

const PREFIXES = ["/", "/a", "/a/", "/a/b", "/ab", "/d"];
const EXACT = ["/", "/a", "/a/b", "/a/b/c", "/d/c"];
const EXPRESSIONS = ["/a.*", "/[ad]/.+", ".*c", "/a/b", "/a|/ab"];
const PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/d/c", "/ab/c", "/a/bc"];

function value(name: string, exact: string[], expressions: string[]): ValueMatch {
  return chance(2)
    ? { type: "Exact", name, value: random.pick(exact) }
    : { type: "RegularExpression", name, value: random.pick(expressions) };
}

function values(name: string): ValueMatch[] {
  const found: ValueMatch[] = [];
  if (chance(3)) found.push(value(`${name}1`, ["v1", "v2"], ["v.*", "v[12]", ".+"]));
  if (chance(6)) found.push(value(`${name}2`, ["one", "two"], [".*o", "o.*e", "(one|two)"]));
  return found;
}

function httpMatch(): HttpMatch {
  const type = random.pick(["Exact", "PathPrefix", "PathPrefix", "RegularExpression"] as const);
  const texts = { Exact: EXACT, PathPrefix: PREFIXES, RegularExpression: EXPRESSIONS }[type];
  return {
    path: { type, value: random.pick(texts) },
    method: chance(4) ? random.pick(["GET", "POST"]) : undefined,
    headers: values("h"),
    queryParams: values("q"),
  };
}

/** As `translate/grpc-matches.ts` makes them. */
function grpcMatch(): HttpMatch {
  const isExpression = chance(3);
  const service = chance(3) ? "" : random.pick(isExpression ? ["a.*", "[ad]+"] : ["a", "ab", "d"]);
  const method = chance(3) ? "" : random.pick(isExpression ? ["[bc]", "b|c.*"] : ["b", "c", "bc"]);
  const grpc: GrpcMethodMatch = {
    type: isExpression ? "RegularExpression" : "Exact",
    service,
    method,
  };
  return { path: grpcPath(grpc), grpc, method: undefined, headers: values("h"), queryParams: [] };
}

function grpcPath({ service, method }: GrpcMethodMatch): HttpMatch["path"] {
  if (service === "" && method === "") return { type: "PathPrefix", value: "/" };
  const element = (text: string) => (text === "" ? "[^/]+" : `(?:${text})`);
  return { type: "RegularExpression", value: `/${element(service)}/${element(method)}` };
}

const NAMES = ["a.example.com", "*.example.com", "*.a.example.com", "b.test", "*"];

function route(kind: Route["kind"], key: string, isShared: boolean): Route {
  // A TCPRoute has no host names.
  const hostnames =
    isShared && kind !== "TCPRoute" && chance(2) ? times(2, () => random.pick(NAMES)) : [];
  const parts = { key, createdMs: random.below(3), hostnames };
  const base = routeOf(key, [], parts);
  if (kind === "TCPRoute" || kind === "TLSRoute") {
    const rules = times(2, (index) => ({ ...{ name: `${index}`, index, backends: [] } }));
    const made: ConnectionRoute = {
      ...base,
      kind,
      rules: rules.map((rule) => ({ ...rule, position: undefined })),
    };
    return made;
  }
  const match = kind === "GRPCRoute" ? grpcMatch : httpMatch;
  const rules: { matches: HttpMatch[] }[] = [];
  for (let i = 1 + random.below(3); i >= 0; i--) {
    // Rules that ask for the same: their order is all that tells them apart.
    rules.push(rules.length > 0 && chance(2) ? rules[0]! : { matches: times(3, match) });
  }
  return { ...routeOf(key, rules, parts), kind, key };
}

function attached(isShared: boolean): AttachedRoute[] {
  const most = random.pick(["HTTPRoute", "HTTPRoute", "GRPCRoute"] as const);
  const others = ["GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute"] as const;
  let last: Route | undefined;
  return times(4, (i) => {
    const key = `default/r${(i * 7) % 5}`;
    // Routes that say the same: age and name are all that tells them apart.
    if (last !== undefined && chance(2)) last = { ...last, key, createdMs: random.below(3) };
    else last = route(chance(5) ? random.pick(others) : most, key, isShared);
    return {
      route: last,
      ports: isShared ? [] : random.pick([[], [], [80], [8080]]),
      ...(!isShared && chance(4) ? { consumer: random.pick(["a", "b"]) } : {}),
    };
  });
}

function facts(): HttpFacts {
  const headers: Record<string, string> = {};
  if (chance(2)) headers.h1 = random.pick(["v1", "v2", "w"]);
  if (chance(2)) headers.h2 = random.pick(["one", "two", ""]);
  const query = [
    ...(chance(2) ? [`q1=${random.pick(["v1", "v2&q1=v1", "%761"])}`] : []),
    ...(chance(2) ? [`q2=${random.pick(["one", "two"])}`] : []),
  ];
  return request({
    sourceIdentity: `spiffe://cluster.local/ns/${random.pick(["a", "b", "c"])}/sa/client`,
    method: random.pick(["GET", "POST", "PUT"]),
    path: random.pick(PATHS),
    query: query.join("&"),
    authority: random.pick(["a.example.com", "A.Example.com:80", "b.test", "x.a.example.com", "c"]),
    headers,
  });
}

/** Each field, made to ask for nothing (or, of an order, turned round). */
const WITHOUT: Readonly<Record<string, (attached: AttachedRoute) => AttachedRoute>> = {
  "exact path": ofPaths("Exact"),
  "path prefix": ofPaths("PathPrefix"),
  "path expression": ofPaths("RegularExpression"),
  "exact header": ofValues("headers", "Exact"),
  "header expression": ofValues("headers", "RegularExpression"),
  "exact query parameter": ofValues("queryParams", "Exact"),
  "query parameter expression": ofValues("queryParams", "RegularExpression"),
  method: ofMatches((match) => ({ ...match, method: undefined })),
  "gRPC service": ofGrpc({ service: "" }),
  "gRPC method": ofGrpc({ method: "" }),
  hostname: (one) => ({ ...one, route: { ...one.route, hostnames: [] } }),
  port: (one) => ({ ...one, ports: [] }),
  consumer: ({ route, ports }) => ({ route, ports }),
  age: (one) => ({ ...one, route: { ...one.route, createdMs: 9 - one.route.createdMs } }),
  name: (one) => ({ ...one, route: { ...one.route, key: mirrored(one.route.key) } }),
  "rule order": ofRules((index) => 9 - index),
  kind: (one) =>
    isForRequests(one.route) ? { ...one, route: { ...one.route, kind: "HTTPRoute" } } : one,
};

function mirrored(key: string): string {
  return key.replace(/\d$/, (digit) => String(9 - Number(digit)));
}

function ofMatches(change: (match: HttpMatch) => HttpMatch) {
  return (one: AttachedRoute): AttachedRoute => {
    const { route } = one;
    if (!isForRequests(route)) return one;
    const rules = route.rules.map((rule) => ({ ...rule, matches: rule.matches.map(change) }));
    return { ...one, route: { ...route, rules } };
  };
}

function ofPaths(type: string) {
  return ofMatches((match) =>
    match.grpc === undefined && match.path.type === type
      ? { ...match, path: { type: "PathPrefix", value: "/" } }
      : match,
  );
}

function ofValues(name: "headers" | "queryParams", type: string) {
  return ofMatches((match) => ({ ...match, [name]: match[name].filter((m) => m.type !== type) }));
}

function ofGrpc(blank: Partial<GrpcMethodMatch>) {
  return ofMatches((match) =>
    match.grpc === undefined ? match : { ...match, grpc: { ...match.grpc, ...blank } },
  );
}

function ofRules(change: (index: number) => number) {
  return (one: AttachedRoute): AttachedRoute => {
    const rules = one.route.rules.map((rule) => ({ ...rule, index: change(rule.index) }));
    return { ...one, route: { ...one.route, rules } as HttpRoute };
  };
}

/** By the route's and rule's place, which no change of `WITHOUT` touches. */
function placeOf(outcome: NaiveOutcome, isTurned: { rule: boolean; name: boolean }): string {
  if (typeof outcome === "string") return outcome;
  const { route, rule } = outcome;
  const key = isTurned.name ? mirrored(route.key) : route.key;
  return `${key} ${isTurned.rule ? 9 - rule : rule}`;
}

test(`${PAIRS} pairs of routes and requests`, { timeout: 300_000 }, () => {
  const decided = new Map<string, number>();
  const outcomes = new Map<string, number>();
  for (let pair = 0; pair < PAIRS; pair += REQUESTS_PER_SET) {
    const own = chance(5) ? [] : attached(false);
    const shared = chance(3) ? [] : attached(true);
    const routes = { [`Service/${SERVICE}`]: own, [`Gateway/${WAYPOINT}`]: shared };
    const snapshot = snapshotOf({ routes });
    const port = random.pick([80, 8080, 9090]);
    const hop = { ...HTTP_HOP, port } as Hop;
    for (let i = 0; i < REQUESTS_PER_SET; i++) {
      const one = facts();
      const wanted = naiveRoutes(own, shared, port, one);
      const decision = decide(snapshot, hop, one, 0);
      const { route: compiled } = decision;
      const where = `seed ${SEED}, pair ${pair + i}`;
      const place = placeOf(wanted, { rule: false, name: false });
      expect(seenPlace(compiled), where).toBe(place);
      if (i === 0) {
        const traced = explain(snapshot, hop, one, 0);
        expect(seenPlace(traced.route), where).toBe(place);
        expect(traced.status, where).toBe(decision.status);
        expect(renderDecision(traced).length).toBeGreaterThan(0);
      }
      const kind = typeof wanted === "string" ? wanted : "matched";
      outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
      countDecided(own, shared, port, one, place, decided);
    }
  }
  console.log(`seed ${SEED}:`, Object.fromEntries([...outcomes, ...decided]));
  expect(outcomes.get("matched")! / PAIRS, "matched").toBeGreaterThan(0.3);
  for (const name of Object.keys(WITHOUT)) {
    expect(decided.get(name) ?? 0, `${name} decides`).toBeGreaterThanOrEqual(DECIDED_MIN);
  }
});

function seenPlace(choice: RouteChoice | ConnectionChoice | undefined): string {
  if (choice === undefined) return "none";
  if (choice.route === undefined) return "default";
  return `${choice.route.key} ${choice.rule!.index}`;
}

function countDecided(
  own: readonly AttachedRoute[],
  shared: readonly AttachedRoute[],
  port: number,
  one: HttpFacts,
  place: string,
  decided: Map<string, number>,
): void {
  for (const [name, without] of Object.entries(WITHOUT)) {
    const count = decided.get(name) ?? 0;
    // Enough is known of it.
    if (count >= DECIDED_MIN) continue;
    const changed = naiveRoutes(own.map(without), shared.map(without), port, one);
    const isTurned = { rule: name === "rule order", name: name === "name" };
    if (placeOf(changed, isTurned) !== place) decided.set(name, count + 1);
  }
}
