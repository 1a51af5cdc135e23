import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { KubeObject } from "../../api/object.ts";
import type { Query, WriteKind, Written } from "../source/kubernetes/kube-client.ts";
import { OwnedObjects } from "./owned-objects.ts";

const LABEL = { key: "gateway.istio.io/managed", value: "us" };
const LIMIT = { timeout: 4000 };

let stop = new AbortController();
afterEach(() => {
  stop.abort();
  stop = new AbortController();
});

type Meta = KubeObject["metadata"] & { resourceVersion?: string };

const refusal = (status: number): Written => ({
  isRefusal: true,
  status,
  message: `refused with ${status}`,
  retryAfterMs: 0,
});

/** An API server's objects by path; an apply that changes nothing makes no new version. */
class Server {
  readonly objects = new Map<string, KubeObject>();
  readonly writes: string[] = [];
  readonly troubles: (number | Error)[] = [];
  #version = 0;

  put(path: string, object: KubeObject): KubeObject {
    const now = this.objects.get(path);
    const { resourceVersion: _, uid: __, ...before } = (now?.metadata ?? {}) as Meta;
    const isSame = JSON.stringify({ ...now, metadata: before }) === JSON.stringify(object);
    if (now !== undefined && isSame) return now;
    const uid = now?.metadata.uid ?? `uid-${++this.#version}`;
    const resourceVersion = String(++this.#version);
    const next = { ...object, metadata: { ...object.metadata, uid, resourceVersion } };
    this.objects.set(path, next);
    return next;
  }

  readonly client = {
    get: async (path: string, query: Query): Promise<Written> => {
      await pause(1);
      if (query.labelSelector === undefined) {
        const body = this.objects.get(path);
        return body === undefined ? refusal(404) : { body };
      }
      expect(query.labelSelector).toBe(`${LABEL.key}=${LABEL.value}`);
      const plural = path.slice(path.lastIndexOf("/"));
      const items = [...this.objects]
        .filter(([at]) => at.includes(`${plural}/`))
        .map(([, object]) => object)
        .filter(({ metadata }) => metadata.labels?.[LABEL.key] === LABEL.value);
      return { body: { items } };
    },
    write: async (
      kind: WriteKind,
      path: string,
      _query: Query,
      body: unknown,
    ): Promise<Written> => {
      await pause(1);
      const trouble = this.troubles.shift();
      if (trouble instanceof Error) throw trouble;
      if (trouble !== undefined) return refusal(trouble);
      this.writes.push(`${kind} ${path.slice(path.lastIndexOf("/", path.lastIndexOf("/") - 1))}`);
      if (kind === "remove") this.objects.delete(path);
      return { body: kind === "remove" ? {} : this.put(path, body as KubeObject) };
    },
  };
}

const object = (kind: string, name: string, spec: object = {}, labels = true): KubeObject => ({
  apiVersion: "v1",
  kind,
  metadata: {
    name,
    namespace: "shop",
    labels: { ...(labels ? { [LABEL.key]: LABEL.value } : {}), owner: "shop/wp" },
  },
  spec,
});

const SERVICE = "/api/v1/namespaces/shop/services/wp";
const BUDGET = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/wp";

function rig(wanted: Map<string, readonly KubeObject[]>) {
  const server = new Server();
  const lines: string[] = [];
  const invalid: (string | undefined)[] = [];
  const line = (fields: { reason?: string }, text: string) =>
    lines.push(`${text}: ${fields.reason ?? ""}`);
  const owned = new OwnedObjects({
    client: server.client,
    fieldManager: "us",
    label: LABEL,
    isListed: true,
    plan: async (owner) => wanted.get(owner),
    ownerOf: ({ metadata }) => metadata.labels?.owner,
    onInvalid: (_owner, reason) => invalid.push(reason),
    signal: stop.signal,
    lookMs: 30,
    logger: { info: () => {}, warn: line } as never,
  });
  owned.start();
  return { server, owned, lines, invalid };
}

test("what an owner wants is applied in its order, and again only when it is another", async () => {
  const wanted = new Map([
    [
      "shop/wp",
      [object("ServiceAccount", "wp"), object("Deployment", "wp"), object("Service", "wp")],
    ],
  ]);
  const { server, owned } = rig(wanted);
  owned.touch("shop/wp");
  const first = ["apply /serviceaccounts/wp", "apply /deployments/wp", "apply /services/wp"];
  await expect.poll(() => server.writes, LIMIT).toEqual(first);
  owned.touch("shop/wp");
  await pause(100);
  expect(server.writes).toEqual(first);
  wanted.set("shop/wp", [object("Service", "wp", { ports: [] })]);
  owned.touch("shop/wp");
  await expect.poll(() => server.writes, LIMIT).toEqual([...first, "apply /services/wp"]);
});

test("what another hand changes or removes is put right", async () => {
  const { server, owned } = rig(new Map([["shop/wp", [object("Service", "wp", { type: "A" })]]]));
  owned.touch("shop/wp");
  await expect.poll(() => server.objects.get(SERVICE)?.spec, LIMIT).toEqual({ type: "A" });
  server.put(SERVICE, object("Service", "wp", { type: "B" }));
  await expect.poll(() => server.objects.get(SERVICE)?.spec, LIMIT).toEqual({ type: "A" });
  server.objects.delete(SERVICE);
  await expect.poll(() => server.objects.get(SERVICE)?.spec, LIMIT).toEqual({ type: "A" });
});

test("an object of the same name that is not ours is left alone, and that is said once", async () => {
  const { server, owned, lines } = rig(new Map([["shop/wp", [object("Service", "wp")]]]));
  server.put(SERVICE, object("Service", "wp", { mine: true }, false));
  for (let i = 0; i < 3; i++) {
    owned.touch("shop/wp");
    await pause(20);
  }
  expect(server.writes).toEqual([]);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("it is left alone");
});

test("a budget goes when it is not wanted any more, also one of an earlier lead", async () => {
  const wanted = new Map([["shop/wp", [object("Service", "wp")]]]);
  const { server, owned } = rig(wanted);
  server.put(BUDGET, object("PodDisruptionBudget", "wp"));
  server.put(`${BUDGET}-others`, object("PodDisruptionBudget", "wp-others", {}, false));
  owned.touch("shop/wp");
  await expect.poll(() => server.objects.has(BUDGET), LIMIT).toBe(false);
  expect(server.objects.has(`${BUDGET}-others`)).toBe(true);
});

test("a server that is away or refuses is tried again", async () => {
  const { server, owned, lines } = rig(new Map([["shop/wp", [object("Service", "wp")]]]));
  server.troubles.push(new Error("away"), 403);
  owned.touch("shop/wp");
  await expect.poll(() => server.writes, LIMIT).toEqual(["apply /services/wp"]);
  expect(lines.map((line) => line.split(": ")[1])).toEqual(["away", "403 refused with 403"]);
});

test("what the server can never take is told to the owner, until it is taken", async () => {
  const { server, owned, invalid } = rig(new Map([["shop/wp", [object("Service", "wp")]]]));
  server.troubles.push(503, 422);
  owned.touch("shop/wp");
  await expect.poll(() => server.writes, LIMIT).toEqual(["apply /services/wp"]);
  await expect.poll(() => invalid.slice(0, 2)).toEqual(["Service wp: refused with 422", undefined]);
});
