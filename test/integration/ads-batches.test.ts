/**
 * Batches between a real server and real clients: whatever is lost, cut or read slowly, a proxy
 * enforces exactly some state that the control plane has had, and in the end the last one.
 */
import { createRouterTransport, type Transport } from "@connectrpc/connect";
import fc from "fast-check";
import { expect, test } from "vitest";
import { AdsClient } from "../../src/agent/ads-client.ts";
import { AdsServer } from "../../src/control/serve/ads-server.ts";
import { log } from "../../src/kit/log.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { ResourceDigest } from "../../src/wire/digest.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceBatch,
  type ResourceSink,
  type ResourceSource,
  type ResourceType,
  type RevisionStamp,
} from "../../src/wire/resource.ts";

log("ads").level = "silent";

const TYPES = Object.values(RESOURCE_TYPES).filter((type) => type !== RESOURCE_TYPES.revision);

/** Type and name → version: all that a state is, for these tests. */
type State = ReadonlyMap<string, string>;

/** A mesh of opaque resources, that remembers each state it was in. */
class RememberingSource implements ResourceSource {
  readonly history = new Map<number, State>();
  readonly #held = new Map<ResourceType, Map<string, EncodedResource>>();
  readonly #listeners = new Set<(batch: ResourceBatch) => void>();
  revision: RevisionStamp = { id: 0, digest: new ResourceDigest().toString() };

  constructor(firstId: number) {
    this.revision = { ...this.revision, id: firstId };
    this.history.set(firstId, new Map());
  }

  resources(type: ResourceType): ReadonlyMap<string, EncodedResource> {
    return this.#held.get(type) ?? new Map();
  }

  subscribe(listener: (batch: ResourceBatch) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** One batch: versions of some names of some types; `0` removes. */
  swap(changes: readonly { type: ResourceType; name: string; version: number }[]): void {
    const last = new Map(changes.map((one) => [`${one.type} ${one.name}`, one]));
    const upserted: EncodedResource[] = [];
    const removed: { type: ResourceType; name: string }[] = [];
    for (const { type, name, version } of last.values()) {
      const held = this.#held.get(type) ?? new Map<string, EncodedResource>();
      this.#held.set(type, held);
      if (version === 0) {
        if (held.delete(name)) removed.push({ type, name });
        continue;
      }
      const bytes = Buffer.alloc(300 * 1024, version);
      const resource = { type, name, version: String(version), bytes };
      held.set(name, resource);
      upserted.push(resource);
    }
    this.revision = { id: this.revision.id + 1, digest: digestOf(this.state) };
    this.history.set(this.revision.id, this.state);
    for (const listener of this.#listeners) {
      listener({ revision: this.revision, upserted, removed });
    }
  }

  get state(): State {
    const entries = [...this.#held].flatMap(([type, held]) =>
      [...held.values()].map(({ name, version }) => [`${type} ${name}`, version] as const),
    );
    return new Map(entries.sort());
  }
}

function digestOf(state: State): string {
  const digest = new ResourceDigest();
  for (const [key, version] of state) {
    const space = key.indexOf(" ");
    digest.add(key.slice(0, space) as ResourceType, key.slice(space + 1), version);
  }
  return digest.toString();
}

/** Commits what amounts to the digest, after as long as the test lets it wait. */
class RecordingSink implements ResourceSink {
  readonly types = [...TYPES, RESOURCE_TYPES.revision];
  readonly committed: { readonly id: number; readonly state: State }[] = [];
  readonly #versions = new Map<ResourceType, Map<string, string>>();
  delayMs = 0;
  refusals = 0;

  versions(type: ResourceType): ReadonlyMap<string, string> {
    return this.#versions.get(type) ?? new Map();
  }

  async stage(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ) {
    await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    const held = this.#versions.get(type) ?? new Map<string, string>();
    this.#versions.set(type, held);
    for (const name of removed) held.delete(name);
    for (const { name, version, bytes } of upserted) {
      expect(bytes[0]).toBe(Number(version));
      held.set(name, version);
    }
    return [];
  }

  commit({ id, digest }: RevisionStamp): string | undefined {
    const entries = [...this.#versions].flatMap(([type, held]) =>
      [...held].map(([name, version]) => [`${type} ${name}`, version] as const),
    );
    const state = new Map(entries.sort());
    if (digestOf(state) !== digest) {
      this.refusals++;
      return "not the same";
    }
    this.committed.push({ id, state });
    return undefined;
  }
}

/** One server in memory that can be replaced, and whose streams can be broken. */
class Wire {
  readonly registry = new MetricRegistry();
  #server: AdsServer | undefined;
  #transport: Transport | undefined;
  #breaking = new AbortController();

  serve(source: ResourceSource): void {
    this.break();
    this.#server?.destroy();
    const authenticator = {
      authenticate: async () => ({
        namespace: "a",
        serviceAccount: "b",
        podName: undefined,
        node: undefined,
      }),
    };
    const server = new AdsServer({ source, authenticator, registry: this.registry });
    this.#server = server;
    this.#transport = createRouterTransport((router) => server.routes(router));
  }

  /** Breaks every stream where it is. */
  break(): void {
    this.#breaking.abort();
    this.#breaking = new AbortController();
  }

  readonly channel = {
    transport: async (): Promise<Transport> => {
      const inner = this.#transport!;
      const { signal: breaking } = this.#breaking;
      return {
        unary: inner.unary.bind(inner),
        stream: (method, signal, ...rest) => {
          const signals = signal === undefined ? [breaking] : [signal, breaking];
          return inner.stream(method, AbortSignal.any(signals), ...rest);
        },
      };
    },
    headers: async () => ({}),
    failed: () => {},
  };
}

const change = fc.record({
  type: fc.constantFrom(...TYPES),
  name: fc.constantFrom("a/1", "a/2", "b/3"),
  version: fc.nat(3),
});
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("swap"), changes: fc.array(change) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("break") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delay"), delayMs: fc.nat(6) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("wait"), waitMs: fc.nat(40) }) },
) as fc.Arbitrary<{
  kind: "swap" | "break" | "restart" | "delay" | "wait";
  changes?: { type: ResourceType; name: string; version: number }[];
  delayMs?: number;
  waitMs?: number;
}>;

let committed = 0;
let skipped = 0;

test("what a proxy commits is a state that the control plane had, and at last the newest", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 30 }), async (steps) => {
      const wire = new Wire();
      let source = new RememberingSource(1);
      const sources = [source];
      wire.serve(source);
      const sink = new RecordingSink();
      const node = { id: "n", metadata: {} };
      const client = new AdsClient({ channel: wire.channel, node, sink });
      client.start();
      for (const { kind, changes = [], delayMs = 0, waitMs = 0 } of steps) {
        if (kind === "swap") source.swap(changes);
        else if (kind === "break") wire.break();
        else if (kind === "delay") sink.delayMs = delayMs;
        else if (kind === "wait") await new Promise((resolve) => setTimeout(resolve, waitMs));
        else {
          // Another one, with the same resources and revisions of its own.
          const next = new RememberingSource(sources.length * 1000);
          const all = [...source.state].map(([key, version]) => {
            const [type, name] = key.split(" ") as [ResourceType, string];
            return { type, name, version: Number(version) };
          });
          next.swap(all);
          source = next;
          sources.push(source);
          wire.serve(source);
        }
      }
      sink.delayMs = 0;
      await expect
        .poll(() => sink.committed.at(-1), { timeout: 5000, interval: 2 })
        .toEqual({ id: source.revision.id, state: source.state });
      for (const { id, state } of sink.committed) {
        const past = sources.find(({ history }) => history.has(id));
        expect(state).toEqual(past!.history.get(id));
      }
      expect(sink.refusals).toBe(0);
      committed += sink.committed.length;
      skipped +=
        sources.reduce((sum, { history }) => sum + history.size, 0) - sink.committed.length;
      client.close();
      wire.break();
    }),
    { numRuns: 50 },
  );
  expect(committed).toBeGreaterThan(50);
  // Slow ones see fewer states than there were.
  expect(skipped).toBeGreaterThan(0);
}, 60_000);
