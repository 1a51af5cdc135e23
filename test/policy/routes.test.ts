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
  GrpcMethodMatch,
  HttpMatch,
  HttpRoute,
} from "../../src/model/route.ts";
import { decide } from "../../src/policy/decide.ts";
import { explain } from "../../src/policy/explain.ts";
import type { Hop, HttpFacts } from "../../src/policy/facts.ts";
import { renderDecision } from "../../src/policy/render.ts";
import type { RouteTrace } from "../../src/policy/trace.ts";
import type { ConnectionChoice, RouteChoice } from "../../src/policy/verdict.ts";
import { connection, HTTP_HOP, SERVICE, snapshotOf, WAYPOINT } from "./mesh.ts";
import {
  isForRequests,
  type NaiveOutcome,
  naiveConnection,
  naiveOutranked,
  naiveRoutes,
} from "./naive-routes.ts";
import { attached, chance, facts, random, SEED } from "./random-routes.ts";

const PAIRS = Number(process.env.WAYSTONE_PAIRS ?? 100_000);
const REQUESTS_PER_SET = 10;
/** Of 100,000 pairs, how many each field has to decide. */
const DECIDED_MIN = (1_000 * PAIRS) / 100_000;

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
        expectTold(traced.trace.routes!, own, shared, port, one, where);
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

/** They have fewer criteria than requests. */
const CONNECTIONS = PAIRS / 5;

test(`${CONNECTIONS} pairs of routes and connections`, { timeout: 300_000 }, () => {
  const outcomes = new Map<string, number>();
  for (let pair = 0; pair < CONNECTIONS; pair += REQUESTS_PER_SET) {
    const kinds = random.pick([["TLSRoute"], ["TCPRoute"], undefined, KINDS] as const);
    const own = chance(3) ? [] : attached(false, kinds);
    const shared = chance(3) ? [] : attached(true, kinds);
    const routes = { [`Service/${SERVICE}`]: own, [`Gateway/${WAYPOINT}`]: shared };
    const snapshot = snapshotOf({ routes });
    const port = random.pick([80, 8080, 9090]);
    const hop = { ...HTTP_HOP, port } as Hop;
    for (let i = 0; i < REQUESTS_PER_SET; i++) {
      const { sourceIdentity } = facts();
      const one = connection({ sourceIdentity, serverName: random.pick(SERVER_NAMES) });
      const wanted = naiveConnection(own, shared, port, one);
      const place = placeOf(wanted, { rule: false, name: false });
      const where = `seed ${SEED}, pair ${pair + i}`;
      expect(seenPlace(decide(snapshot, hop, one, 0).route), where).toBe(place);
      const traced = explain(snapshot, hop, one, 0);
      expect(seenPlace(traced.route), where).toBe(place);
      // Each is the one that is followed, or it is said why not.
      const told = traced.trace.routes!.passedOver.length;
      const followed = typeof wanted === "string" ? 0 : 1;
      expect(told + followed, where).toBe(own.length + shared.length);
      const kind = typeof wanted === "string" ? wanted : wanted.route.kind;
      outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
    }
  }
  console.log(`seed ${SEED}:`, Object.fromEntries(outcomes));
  for (const kind of ["TLSRoute", "TCPRoute", "none", "default"]) {
    expect(outcomes.get(kind)! / CONNECTIONS, kind).toBeGreaterThan(0.02);
  }
});

const KINDS = ["HTTPRoute", "TLSRoute", "TLSRoute", "TCPRoute"] as const;
const SERVER_NAMES = [
  "a.example.com",
  "A.Example.com",
  "b.test",
  "x.a.example.com",
  "c",
  undefined,
];

function seenPlace(choice: RouteChoice | ConnectionChoice | undefined): string {
  if (choice === undefined) return "none";
  if (choice.route === undefined) return "default";
  return `${choice.route.key} ${choice.rule!.index}`;
}

/** Each route is tried, or it is said why not; what matches as well, by what it is behind. */
function expectTold(
  { candidates, passedOver }: RouteTrace,
  own: readonly AttachedRoute[],
  shared: readonly AttachedRoute[],
  port: number,
  one: HttpFacts,
  where: string,
): void {
  const told = new Set([...candidates, ...passedOver].map(({ route }) => route));
  const isTold = ({ route }: AttachedRoute) => told.has(route.key);
  if (candidates.every(({ isMatched }) => !isMatched)) {
    expect([...own, ...shared].every(isTold), where).toBe(true);
  }
  const behind = passedOver.filter(({ rule }) => rule !== undefined);
  const wanted = naiveOutranked(own, shared, port, one);
  expect(behind.length, where).toBe(wanted.length);
  for (const [i, { route, rule, because }] of behind.entries()) {
    const [place, reason] = wanted[i]!.split(": ");
    expect(`${route} ${rule}`, where).toBe(place);
    expect(because, where).toContain(reason);
  }
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
