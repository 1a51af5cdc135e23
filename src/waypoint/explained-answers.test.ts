/**
 * What `explain` tells of a request's route is what the running waypoint does: the status, who is
 * asked, and the filters that take effect, on random routes with random filters.
 */
import { expect, test } from "vitest";
import { connection } from "../../test/policy/mesh.ts";
import {
  chance,
  facts,
  random,
  attached as randomRoutes,
  SEED,
} from "../../test/policy/random-routes.ts";
import { MemoryStream, settle } from "../../test/support/memory-stream.ts";
import { indexOf } from "../../test/support/small-mesh.ts";
import { FakeWaypoint, meshWith, REVIEWS } from "../../test/support/waypoint-session.ts";
import { decisionReport } from "../agent/decision-report.ts";
import { outcomeOf } from "../agent/replay/outcome.ts";
import type { AttachedRoute, HttpBackend, Route, RouteFilter } from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { explain } from "../policy/explain.ts";
import type { ConnectionFacts, HttpFacts } from "../policy/facts.ts";
import { renderDecision } from "../policy/render.ts";
import { TcpSession } from "./tcp-session.ts";

const REQUESTS = 1_500;
/** Of each outcome there have to be so many. */
const SEEN_MIN = 5;
const BACKENDS_ANSWER = 299;

const BACKEND: HttpBackend = {
  weight: 1,
  service: REVIEWS,
  port: 80,
  problem: undefined,
  position: undefined,
  filters: [],
};

function redirect(): RouteFilter {
  const statusCode = random.pick([301, 302, 303, 307, 308] as const);
  const nothing = { scheme: undefined, hostname: undefined, port: undefined, path: undefined };
  return { type: "RequestRedirect", ...nothing, statusCode };
}

function cors(): RouteFilter {
  return {
    type: "CORS",
    allowOrigins: ["https://a.example"],
    allowCredentials: false,
    allowMethods: ["GET"],
    allowHeaders: [],
    exposeHeaders: [],
    maxAgeS: 5,
  };
}

function modifier(type: "RequestHeaderModifier" | "ResponseHeaderModifier"): RouteFilter {
  return { type, headers: { set: [{ name: `x-${type}`, value: "1" }], add: [], remove: [] } };
}

function backends(): HttpBackend[] {
  const kinds: HttpBackend[] = [
    BACKEND,
    BACKEND,
    { ...BACKEND, weight: 0 },
    { ...BACKEND, weight: 2, service: undefined, problem: "BackendNotFound" },
    { ...BACKEND, filters: [redirect()] },
    { ...BACKEND, filters: [modifier("RequestHeaderModifier")] },
  ];
  return Array.from({ length: random.below(4) }, () => random.pick(kinds));
}

function filters(): RouteFilter[] {
  return [
    ...(chance(3) ? [cors()] : []),
    ...(chance(4) ? [redirect()] : []),
    ...(chance(3) ? [modifier("RequestHeaderModifier")] : []),
    ...(chance(3) ? [modifier("ResponseHeaderModifier")] : []),
    ...(chance(3) ? [{ type: "RequestMirror", backend: BACKEND, share: 1 } as const] : []),
  ];
}

function attached(isShared: boolean): AttachedRoute[] {
  return randomRoutes(isShared).map((one) => {
    const rules = one.route.rules.map((rule) => {
      if (!("filters" in rule)) return { ...rule, backends: backends() };
      const problem = chance(8) ? "filter X is not known" : undefined;
      return { ...rule, filters: filters(), backends: backends(), problem };
    });
    return { ...one, route: { ...one.route, rules } as Route };
  });
}

const PREFLIGHT = { origin: "https://a.example", "access-control-request-method": "GET" };
const SENT = ["h1", "h2", ...Object.keys(PREFLIGHT)];

function asked(): HttpFacts {
  const about = { sourceAddress: "127.70.0.2", destinationAddress: "127.70.0.3" };
  const isPreflight = chance(4);
  return facts({
    ...about,
    destinationPort: 80,
    ...(isPreflight && { method: "OPTIONS", headers: PREFLIGHT }),
  });
}

/** Sends it; what the backends are asked they answer. */
async function send(waypoint: FakeWaypoint, request: HttpFacts): Promise<string> {
  const { method, path, query, authority, header } = request;
  const { client } = waypoint.open();
  const lines = SENT.flatMap((name) => {
    const value = header(name);
    return value === undefined ? [] : [`${name}: ${value}\r\n`];
  });
  const target = query === "" ? path : `${path}?${query}`;
  client.send(
    `${method} ${target} HTTP/1.1\r\nhost: ${authority}\r\nx-waystone-decision: it\r\n${lines.join("")}\r\n`,
  );
  await settle();
  for (const backend of waypoint.backends.connections) {
    backend.send(`HTTP/1.1 ${BACKENDS_ANSWER} OK\r\ncontent-length: 0\r\n\r\n`);
  }
  await settle();
  return client.text;
}

async function end(waypoint: FakeWaypoint): Promise<void> {
  for (const session of waypoint.context.sessions) session.drain(0);
  for (const stream of waypoint.backends.streams) stream.reset("cancel");
  await settle(4);
}

const HOP = { proxy: "waypoint", waypoint: "default/wp", service: REVIEWS, port: 80 } as const;

/** Returns the status. */
async function compare(snapshot: Snapshot, request: HttpFacts, where: string): Promise<number> {
  const waypoint = new FakeWaypoint(snapshot);
  waypoint.connection.peer = request.sourceIdentity!;
  const text = await send(waypoint, request);
  const asked = waypoint.backends.connections.map((backend) => backend.text.toLowerCase());
  await end(waypoint);
  const recorded = waypoint.context.decisions.find("it")!;
  const { draw, isDrawn = false } = recorded.payload;
  const traced = explain(snapshot, HOP, request, draw);
  const seen = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
  expect(seen, where).toBe(traced.status ?? BACKENDS_ANSWER);
  const { chosen } = traced.trace.routes!;
  expect(chosen === undefined ? 404 : chosen.status, where).toBe(traced.status);
  const effects = chosen?.effects ?? [];
  const mirrors = effects.filter((effect) => effect.startsWith("RequestMirror")).length;
  expect(asked.length, where).toBe(traced.status === undefined ? 1 + mirrors : 0);
  const isSaid = (type: string) => effects.some((effect) => effect.includes(type));
  const isAsked = asked.some((head) => head.includes("x-requestheadermodifier"));
  expect(isAsked, where).toBe(isSaid("RequestHeaderModifier"));
  const isAnswered = text.toLowerCase().includes("x-responseheadermodifier");
  expect(isAnswered, where).toBe(isSaid("ResponseHeaderModifier"));
  expect(isSaid("RequestRedirect"), where).toBe(seen > 299 && seen < 400);
  // As `waystone what-if` would compare it.
  expect(outcomeOf(traced, HOP, isDrawn).status, where).toBe(traced.status);
  const report = decisionReport(recorded);
  expect(report.status, where).toBe(seen);
  expect(report.text, where).toBe(renderDecision(traced));
  return seen;
}

test(`${REQUESTS} requests and what explain tells of them`, { timeout: 120_000 }, async () => {
  const seen = new Map<number, number>();
  const mesh = meshWith(1);
  for (let i = 0; i < REQUESTS; i++) {
    const routes = indexOf({
      [`Service/${REVIEWS}`]: chance(4) ? [] : attached(false),
      [`Gateway/${HOP.waypoint}`]: chance(3) ? [] : attached(true),
    });
    const status = await compare({ ...mesh, routes }, asked(), `seed ${SEED}, request ${i}`);
    seen.set(status, (seen.get(status) ?? 0) + 1);
  }
  console.log(`seed ${SEED}:`, Object.fromEntries(seen));
  for (const status of [200, BACKENDS_ANSWER, 301, 302, 303, 307, 308, 404, 500]) {
    expect(seen.get(status) ?? 0, `${status}`).toBeGreaterThanOrEqual(SEEN_MIN);
  }
});

const SERVER_NAMES = ["a.example.com", "x.a.example.com", "b.test", "c", undefined];

/** Of a rule all are alike, for a session does not tell its draw. */
function alike(): HttpBackend[] {
  const backend = random.pick([
    BACKEND,
    { ...BACKEND, port: 9000 },
    { ...BACKEND, weight: 0 },
    { ...BACKEND, service: undefined, problem: "BackendNotFound" },
  ]);
  return chance(8) ? [] : [backend, backend];
}

function attachedTls(isShared: boolean): AttachedRoute[] {
  const kinds = chance(4) ? (["TCPRoute"] as const) : (["TLSRoute"] as const);
  return randomRoutes(isShared, kinds).map((one) => {
    const rules = one.route.rules.map((rule) => ({ ...rule, backends: alike() }));
    return { ...one, route: { ...one.route, rules } as Route };
  });
}

/** The port that is dialled; 0 when the connection is refused. */
async function connect(
  snapshot: Snapshot,
  { sourceIdentity, serverName }: ConnectionFacts,
): Promise<number> {
  const waypoint = new FakeWaypoint(snapshot);
  waypoint.connection.peer = sourceIdentity!;
  const [stream] = MemoryStream.pair();
  const refused: number[] = [];
  const answer = { accept() {}, refuse: (status: number) => void refused.push(status) };
  const target = waypoint.target();
  const session = new TcpSession(stream, waypoint.connection, waypoint.context, target, answer);
  session.start(Buffer.alloc(0), serverName);
  await settle(4);
  stream.reset("cancel");
  await end(waypoint);
  expect(waypoint.backends.dialed).toHaveLength(1 - refused.length);
  return waypoint.backends.dialed[0]?.targetPort ?? 0;
}

test(`${REQUESTS} connections likewise`, { timeout: 120_000 }, async () => {
  const seen = new Map<number, number>();
  const mesh = meshWith(1);
  for (let i = 0; i < REQUESTS; i++) {
    const where = `seed ${SEED}, connection ${i}`;
    const routes = indexOf({
      [`Service/${REVIEWS}`]: chance(3) ? [] : attachedTls(false),
      [`Gateway/${HOP.waypoint}`]: chance(3) ? [] : attachedTls(true),
    });
    const snapshot = { ...mesh, routes };
    const { sourceIdentity } = facts();
    const one = connection({ sourceIdentity, serverName: random.pick(SERVER_NAMES) });
    const dialed = await connect(snapshot, one);
    const { chosen } = explain(snapshot, HOP, one, random.below(2) / 2).trace.routes!;
    const isClosed = chosen === undefined || chosen.problem !== undefined;
    expect(dialed, where).toBe(isClosed ? 0 : { 80: 8080, 9000: 9000 }[chosen.port]);
    seen.set(dialed, (seen.get(dialed) ?? 0) + 1);
  }
  console.log(`seed ${SEED}:`, Object.fromEntries(seen));
  for (const port of [0, 8080, 9000]) expect(seen.get(port)!).toBeGreaterThan(SEEN_MIN);
});
