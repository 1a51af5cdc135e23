/**
 * The same tokens for a Waystone waypoint and for Envoy's JWT filter: the same status, challenge
 * and headers at the backend. `WAYSTONE_SEED` repeats a run, `WAYSTONE_REQUESTS` is how many there are.
 */
import { afterAll, expect, test } from "vitest";
import { Random } from "../fuzz/random.ts";
import { routeOf } from "../policy/mesh.ts";
import {
  type AskedWithTokens,
  AuthenticationMaker,
  type AuthenticationTable,
} from "./authentications.ts";
import { type Backends, startBackends } from "./backends.ts";
import { Http1Client, type Outcome } from "./clients.ts";
import { isSame } from "./differences.ts";
import { startAuthenticators } from "./envoy-authentications.ts";
import { findEnvoy } from "./envoy-process.ts";
import { explainedTokens } from "./token-differences.ts";
import { backendService, startWaystone } from "./waystone-side.ts";

const SEED = Number(process.env.WAYSTONE_SEED ?? Date.now() % 1_000_000);
const REQUESTS = Number(process.env.WAYSTONE_REQUESTS ?? 10_000);
const SETS = 40;
const AT_ONCE = 16;
const HOST = "shop.example.com";

const envoy = findEnvoy();
if (envoy === undefined) process.stderr.write("differential: tokens skipped, no Envoy here\n");

const cleanups: (() => void)[] = [];
afterAll(() => {
  for (const cleanup of cleanups.reverse()) cleanup();
});

class Tally {
  equal = 0;
  readonly statuses = new Map<number, number>();
  readonly classes = new Map<string, number>();
  readonly others: string[] = [];

  note(table: AuthenticationTable, asked: AskedWithTokens, ours: Outcome, theirs: Outcome): void {
    this.statuses.set(theirs.status, (this.statuses.get(theirs.status) ?? 0) + 1);
    if (isSame(ours, theirs)) {
      this.equal++;
      return;
    }
    const classes = explainedTokens(ours, theirs, asked, table);
    for (const name of classes ?? []) {
      this.classes.set(name, (this.classes.get(name) ?? 0) + 1);
    }
    if (classes !== undefined) return;
    const rules = table.rules.map(({ jwks, ...rule }) => ({ ...rule, jwks: jwks?.length }));
    const texts = [asked, ours, theirs, rules].map((value) => JSON.stringify(value));
    this.others.push(
      `${texts[0]}\nwaystone ${texts[1]}\n   envoy ${texts[2]}\n   rules ${texts[3]}`,
    );
  }

  toString(): string {
    const list = (all: ReadonlyMap<unknown, number>) =>
      [...all].map(([name, count]) => `${name} ${count}`).join(", ");
    return (
      `tokens, seed ${SEED}: ${REQUESTS} requests (${list(this.statuses)}), ${this.equal} equal, ` +
      `${this.others.length} others; ${list(this.classes)}\n`
    );
  }
}

test.skipIf(envoy === undefined)(
  "tokens are judged as by Envoy, and forwarded as by it",
  { timeout: 600_000 },
  async () => {
    const maker = new AuthenticationMaker(new Random(SEED));
    const tables = Array.from({ length: SETS }, () => maker.table(Math.ceil(REQUESTS / SETS)));
    const backends = await startBackends(["b1"]);
    cleanups.push(() => backends.end());
    const rules = tables.map((table) => table.rules);
    const running = await startAuthenticators(envoy!, rules, backends.ports.get("b1")!);
    cleanups.push(() => running.end());
    const tally = new Tally();
    for (const [i, table] of tables.entries()) {
      await compare(table, running.ports[i]!, backends, tally, i);
    }
    process.stderr.write(String(tally));
    expect(tally.others.slice(0, 3), `seed ${SEED}`).toEqual([]);
    for (const status of [200, 401, 403]) {
      expect(tally.statuses.get(status) ?? 0, `status ${status}`).toBeGreaterThan(REQUESTS / 200);
    }
  },
);

const TO_BACKEND = routeOf("all", [
  {
    backends: [
      {
        weight: 1,
        service: backendService("b1"),
        port: 80,
        problem: undefined,
        position: undefined,
        filters: [],
      },
    ],
  },
]);

async function compare(
  table: AuthenticationTable,
  envoyPort: number,
  backends: Backends,
  tally: Tally,
  index: number,
): Promise<void> {
  const routes = [{ route: TO_BACKEND, ports: [] }];
  const side = await startWaystone(routes, backends.ports, table.authentications);
  const ours = new Http1Client(side.port, `w${index}-`, backends);
  const theirs = new Http1Client(envoyPort, `e${index}-`, backends);
  const waiting = [...table.requests];
  const work = async () => {
    for (let asked = waiting.pop(); asked !== undefined; asked = waiting.pop()) {
      const answers = await Promise.all([ours.send(asked, HOST), theirs.send(asked, HOST)]);
      tally.note(table, asked, withoutQuery(answers[0]()), withoutQuery(answers[1]()));
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } finally {
    ours.end();
    theirs.end();
    side.end();
  }
}

/** The realm is a name for the place: Envoy's has the query, too, and the token that is in it. */
function withoutQuery(outcome: Outcome): Outcome {
  const headers = outcome.headers.map((line) => line.replace(REALM, "$1"));
  return { ...outcome, headers };
}

const REALM = /^(www-authenticate: Bearer realm="[^"?]*)\?[^"]*/;
