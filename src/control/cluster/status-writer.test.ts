import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { Observed } from "../source/kubernetes/kind-store.ts";
import type { Query, WriteKind, Written } from "../source/kubernetes/kube-client.ts";
import type { WantedStatus } from "./status-merge.ts";
import { StatusWriter } from "./status-writer.ts";

interface Patch {
  readonly metadata: { readonly resourceVersion: string };
  readonly status: { readonly conditions: readonly { readonly type: string }[] };
}

let stop = new AbortController();
afterEach(() => {
  stop.abort();
  stop = new AbortController();
});

const READY: WantedStatus = {
  generation: 1,
  ownTypes: new Set(["Ready"]),
  conditions: [{ type: "Ready", status: "True", reason: "Fine", message: "" }],
};

/** Services of one namespace with their statuses, and a writer that is told of their changes. */
class Rig {
  readonly objects = new Map<string, Observed>();
  readonly patches: { readonly path: string; readonly query: Query; readonly body: Patch }[] = [];
  readonly lines: string[] = [];
  wanted = READY;
  /** What the server says instead, once each. */
  readonly troubles: (number | Error)[] = [];
  #version = 0;
  readonly writer: StatusWriter;

  constructor(signal: AbortSignal) {
    const line = (_fields: object, text: string) => this.lines.push(text);
    this.writer = new StatusWriter({
      client: { write: (kind, path, query, body) => this.#write(kind, path, query, body) },
      observed: (_kind, key) => this.objects.get(key),
      served: async () => ({
        apiVersion: "v1",
        kind: "Service",
        group: "",
        plural: "services",
        path: "/api/v1/services",
      }),
      wanted: () => this.wanted,
      fieldManager: "us",
      signal,
      logger: { warn: line, info: line } as never,
    });
  }

  put(key: string, status: unknown): void {
    const version = String(++this.#version);
    this.objects.set(key, { apiVersion: "v1", version, uid: key, generation: 1, status });
    this.writer.touch("Service", key);
  }

  conditionsOf(key: string): readonly { readonly type: string }[] {
    return (this.objects.get(key)!.status as Patch["status"]).conditions;
  }

  async #write(kind: WriteKind, path: string, query: Query, given: unknown): Promise<Written> {
    const body = given as Patch;
    expect(kind).toBe("merge");
    this.patches.push({ path, query, body });
    const trouble = this.troubles.shift();
    await pause(1);
    if (trouble instanceof Error) throw trouble;
    const [, namespace, name] = /^\/api\/v1\/namespaces\/(.+)\/services\/(.+)\/status$/.exec(path)!;
    const key = `${namespace}/${name}`;
    const now = this.objects.get(key);
    const refused = (status: number): Written => ({
      isRefusal: true,
      status,
      message: "no",
      retryAfterMs: 0,
    });
    if (trouble !== undefined) return refused(trouble);
    if (now === undefined) return refused(404);
    if (now.version !== body.metadata.resourceVersion) return refused(409);
    this.put(key, { ...(now.status as object), ...body.status });
    return { body: {} };
  }
}

const LIMIT = { timeout: 4000 };

test("each status is written once, and not again while it says what it is to say", async () => {
  const rig = new Rig(stop.signal);
  for (let i = 0; i < 100; i++) rig.put(`shop/s${i}`, undefined);
  await expect.poll(() => rig.writer.written, LIMIT).toBe(100);
  for (const key of rig.objects.keys()) rig.writer.touch("Service", key);
  await expect.poll(() => rig.writer.isIdle, LIMIT).toBe(true);
  expect(rig.patches).toHaveLength(100);
  expect(rig.patches[0]).toMatchObject({ query: { fieldManager: "us" } });
});

test("what another wrote in between is not lost", async () => {
  const rig = new Rig(stop.signal);
  rig.put("shop/cart", { conditions: [] });
  rig.put("shop/cart", { conditions: [{ type: "Theirs" }] });
  await expect.poll(() => rig.writer.written, LIMIT).toBe(1);
  expect(rig.conditionsOf("shop/cart").map(({ type }) => type)).toEqual(["Theirs", "Ready"]);
});

test("a server that is away is tried again, and complained of once", async () => {
  const rig = new Rig(stop.signal);
  rig.troubles.push(new Error("away"), new Error("away"), 503);
  rig.put("shop/cart", undefined);
  await expect.poll(() => rig.writer.written, LIMIT).toBe(1);
  expect(rig.lines).toEqual(["statuses cannot be written; it is tried again"]);
});

test("a status that is refused is not written again until it is another one", async () => {
  const rig = new Rig(stop.signal);
  rig.troubles.push(422);
  rig.put("shop/cart", undefined);
  await expect.poll(() => rig.lines, LIMIT).toEqual(["a status was refused"]);
  await pause(50);
  expect(rig.patches).toHaveLength(1);
});

test("who fights over a condition is answered twice a second, not more", async () => {
  const rig = new Rig(stop.signal);
  rig.put("shop/cart", undefined);
  const timer = setInterval(() => rig.put("shop/cart", { conditions: [] }), 5);
  await pause(1200);
  clearInterval(timer);
  expect(rig.patches.length).toBeGreaterThanOrEqual(2);
  expect(rig.patches.length).toBeLessThanOrEqual(4);
});

test("after the end of the lead nothing is written", async () => {
  const lead = new AbortController();
  const rig = new Rig(lead.signal);
  rig.troubles.push(new Error("away"));
  rig.put("shop/cart", undefined);
  await expect.poll(() => rig.patches.length).toBe(1);
  lead.abort();
  rig.put("shop/cart", undefined);
  await pause(1200);
  expect(rig.patches).toHaveLength(1);
});
