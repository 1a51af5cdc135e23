/**
 * Endpoints that come, go, refuse and leave while requests are under way: whatever happens, no
 * request is lost that could be sent again, none goes to an endpoint that left before it came, and
 * nothing is left behind.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type MemoryPeer, settle } from "../../test/support/memory-stream.ts";
import {
  FakeWaypoint,
  meshWith,
  REVIEWS_HOST,
  withRule,
} from "../../test/support/waypoint-session.ts";
import type { Snapshot } from "../model/snapshot.ts";

const KEY = `default/${REVIEWS_HOST}`;
const PODS = 6;

type Event =
  | { readonly do: "ask"; readonly method: "GET" | "POST"; readonly bodyBytes: number }
  | { readonly do: "set"; readonly up: readonly boolean[] }
  | { readonly do: "break" }
  | { readonly do: "rest" };

const events: fc.Arbitrary<Event> = fc.oneof(
  fc.record({
    do: fc.constant("ask" as const),
    method: fc.constantFrom("GET" as const, "POST" as const),
    bodyBytes: fc.constantFrom(0, 1, 5000),
  }),
  fc.record({
    do: fc.constant("set" as const),
    // At least one is there.
    up: fc
      .array(fc.boolean(), { minLength: PODS - 1, maxLength: PODS - 1 })
      .map((up) => [true, ...up]),
  }),
  fc.record({ do: fc.constant("break" as const) }),
  fc.record({ do: fc.constant("rest" as const) }),
);

class Churn {
  readonly #mesh: Snapshot;
  readonly waypoint: FakeWaypoint;
  readonly #clients: { readonly client: MemoryPeer; readonly method: string }[] = [];
  #up = new Set<string>();
  #revision = 1;

  constructor() {
    const retry = { attempts: 8, codes: [503], grpcCodes: [], backoffMs: 0 };
    this.#mesh = withRule(meshWith(PODS), { retry });
    this.waypoint = new FakeWaypoint(this.#mesh);
    const { backends } = this.waypoint;
    this.#set(new Array<boolean>(PODS).fill(true));
    // The first pod is well; of the others each third connection is refused, each fourth is busy.
    backends.outcome = (dial, { address }) =>
      dial % 3 === 0 && !address.endsWith(".1") ? "fail" : "accept";
    backends.onConnection = (peer) => {
      const endpoint = backends.dialed.at(-1)!;
      const isBusy = backends.connections.length % 4 === 0 && !endpoint.address.endsWith(".1");
      expect(this.#up.has(endpoint.address) || endpoint.isGone).toBe(true);
      answerWith(peer, isBusy ? 503 : 200);
    };
  }

  #set(up: readonly boolean[]): void {
    const all = this.#mesh.endpoints.get(KEY)!;
    const now = all.filter((_, i) => up[i]);
    this.#up = new Set(now.map(({ address }) => address));
    const endpoints = { ...this.#mesh.endpoints, get: () => now };
    this.waypoint.snapshot = {
      ...this.#mesh,
      revision: ++this.#revision,
      endpoints: endpoints as unknown as Snapshot["endpoints"],
    };
    this.waypoint.context.clusters.sweep(this.waypoint.snapshot);
  }

  async play(event: Event): Promise<void> {
    if (event.do === "set") this.#set(event.up);
    else if (event.do === "rest") await settle(4);
    else if (event.do === "break") {
      for (const { stream } of this.waypoint.backends.connections) stream.reset("cancel");
    } else {
      const { client } = this.waypoint.open();
      const { method, bodyBytes } = event;
      client.send(
        `${method} / HTTP/1.1\r\nhost: a\r\ncontent-length: ${bodyBytes}\r\n\r\n${"b".repeat(bodyBytes)}`,
      );
      this.#clients.push({ client, method });
    }
  }

  async end(): Promise<void> {
    for (let i = 0; i < 400 && this.#clients.some(({ client }) => client.text === ""); i++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await settle();
    for (const { client, method } of this.#clients) {
      const status = client.text.slice(9, 12);
      // A POST on a connection that broke may have arrived.
      if (method === "GET") expect(status).toBe("200");
      else expect(["200", "503"]).toContain(status);
      client.stream.reset("cancel");
    }
    await settle();
    const { context, backends } = this.waypoint;
    expect(context.keptBytes.bytes).toBe(0);
    for (const endpoint of new Set(backends.dialed)) expect(endpoint.active).toBe(0);
  }
}

/** A small server: answers each request when its body is there. */
function answerWith(peer: MemoryPeer, status: number): void {
  let text = "";
  peer.onData = (bytes, from, to) => {
    peer.stream.credit(to - from);
    text += bytes.toString("latin1", from, to);
    for (;;) {
      const end = text.indexOf("\r\n\r\n");
      const length = Number(/content-length: (\d+)/.exec(text)?.[1] ?? 0);
      if (end < 0 || text.length < end + 4 + length) return;
      text = text.slice(end + 4 + length);
      peer.send(`HTTP/1.1 ${status} X\r\ncontent-length: 0\r\n\r\n`);
    }
  };
}

test("endpoints come, go, refuse and break: what can be answered is", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(events, { minLength: 5, maxLength: 60 }), async (all) => {
      const churn = new Churn();
      for (const event of all) await churn.play(event);
      await churn.end();
    }),
    { numRuns: 150 },
  );
}, 60_000);
