/** What an API server does beside answering, and what becomes of it. */
import { afterEach, expect, test } from "vitest";
import { type ClusterRig, clusterRig, HASTE } from "../../../../test/support/kubernetes-source.ts";
import { hasObjects, keys, type WatchedSource } from "../../../../test/support/watched-source.ts";
import type { KindName } from "../../../api/kinds.ts";
import type { KubeObject } from "../../../api/object.ts";
import { WATCHED_KINDS } from "./watched-kinds.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const rig = (): Promise<ClusterRig> => clusterRig((end) => ends.push(end));
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const WARN = 40;

const service = (name: string, port = 80): KubeObject => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "shop" },
  spec: { ports: [{ port }] },
});

const route = (name: string): KubeObject => ({
  apiVersion: "gateway.networking.k8s.io/v1",
  kind: "TCPRoute",
  metadata: { name, namespace: "shop" },
  spec: { rules: [{ backendRefs: [{ name: "a", port: 80 }] }] },
});

const portsOf = (watched: WatchedSource) =>
  [...watched.objects.values()]
    .filter(({ kind }) => kind === "Service")
    .map(({ value }) => [
      value.metadata.name,
      (value.spec as { ports: { port: number }[] }).ports[0]!.port,
    ])
    .sort();

/** All kinds are watched. */
const settled = ({ api }: ClusterRig, missing = 0) =>
  expect.poll(() => api.watches).toBe(WATCHED_KINDS.length - missing);

test("a long list comes in pages, all of one moment", async () => {
  const it = await rig();
  for (let i = 0; i < 1_234; i++) it.api.put(service(`s${String(i).padStart(4, "0")}`));
  const watched = await it.started();
  expect(watched.objects.size).toBe(1_234);
  const limits = it.api.requestsOf("list", "Service").map(({ query }) => query.get("limit"));
  expect(limits).toEqual(["500", "500", "500"]);
});

test("pages that expire before they are all read are read anew, at once", async () => {
  const it = await rig();
  for (let i = 0; i < 1_100; i++) it.api.put(service(`s${i}`));
  const timer = setInterval(() => {
    const lists = it.api.requestsOf("list", "Service");
    if (lists.length === 1) it.api.compact();
  }, 0);
  const watched = await it.started();
  clearInterval(timer);
  expect(watched.objects.size).toBe(1_100);
});

test("a dropped watch goes on where it was, without a list, and nothing is missed", async () => {
  const it = await rig();
  it.api.put(service("a"));
  it.api.put(service("b"));
  const watched = await it.started();
  await settled(it);
  for (const port of [81, 82, 83]) {
    it.api.dropWatches();
    it.api.put(service("a", port));
    it.api.delete("Service", "shop", "b");
    it.api.put(service("b", port));
    await expect
      .poll(() => portsOf(watched))
      .toEqual([
        ["a", port],
        ["b", port],
      ]);
    await settled(it);
  }
  it.api.endWatches();
  it.api.put(service("c"));
  await expect.poll(() => watched.objects.size).toBe(3);
  expect(it.api.requestsOf("list", "Service")).toHaveLength(1);
  expect(it.log.filter(({ level }) => level >= WARN)).toEqual([]);
});

test("a bookmark leads a quiet watch past what the server forgets", async () => {
  const it = await rig();
  it.api.put(service("a"));
  const watched = await it.started();
  await settled(it);
  for (let i = 0; i < 50; i++) it.api.put(service("busy", i));
  await expect.poll(() => watched.objects.size).toBe(2);
  it.api.bookmark();
  it.api.compact();
  await pause(20);
  it.api.dropWatches();
  await settled(it);
  expect(it.api.requestsOf("list")).toHaveLength(WATCHED_KINDS.length);
  const resumed = it.api.requestsOf("watch", "Gateway").at(-1);
  expect(resumed!.query.get("resourceVersion")).toBe(String(it.api.version));
});

test.each(["status", "event"] as const)("410 Gone as %s: listed anew", async (goneAs) => {
  const it = await rig();
  it.api.goneAs = goneAs;
  for (const name of ["a", "b"]) it.api.put(service(name));
  const watched = await it.started();
  await settled(it);
  const kept = watched.objects.get("Service/shop/a");
  it.api.dropWatches();
  it.api.delete("Service", "shop", "b");
  it.api.put(service("c"));
  it.api.compact();
  const change = await watched.next(hasObjects);
  expect(keys(change.removed)).toEqual(["Service/shop/b"]);
  expect(change.upserted.map((o) => o.value.metadata.name)).toEqual(["c"]);
  expect(watched.objects.get("Service/shop/a")).toBe(kept);
});

test("410 Gone in the middle of a watch: listed anew", async () => {
  const it = await rig();
  it.api.put(service("a"));
  const watched = await it.started();
  await settled(it);
  it.api.delayMs = 10_000;
  it.api.put(service("a", 81));
  it.api.delayMs = 0;
  it.api.expireWatches();
  await expect.poll(() => portsOf(watched)).toEqual([["a", 81]]);
  await settled(it);
});

test("a server that is away: nothing is lost, one line says so, and then all is well", async () => {
  const it = await rig();
  for (const name of ["a", "b"]) it.api.put(service(name));
  const watched = await it.started();
  await settled(it);
  await it.api.stop();
  it.api.put(service("a", 81));
  it.api.delete("Service", "shop", "b");
  await pause(400);
  expect(watched.changes).toEqual([]);
  expect(watched.objects.size).toBe(2);
  await it.api.listen();
  await expect.poll(() => portsOf(watched)).toEqual([["a", 81]]);
  await settled(it);
  expect(it.api.requestsOf("list", "Service")).toHaveLength(1);
  const told = it.log.map(({ msg }) => msg).filter((msg) => msg.includes("API server"));
  expect(told).toEqual([
    expect.stringContaining("does not answer; what was read stays in force"),
    "the API server answers again",
  ]);
});

test("a server that is away at the start is waited for, and said once", async () => {
  const it = await rig();
  it.api.put(service("a"));
  await it.api.stop();
  const starting = it.started();
  await pause(200);
  await it.api.listen();
  expect((await starting).objects.size).toBe(1);
  expect(it.log.filter(({ level }) => level >= WARN)).toHaveLength(1);
});

test("a server that refuses for a while is not asked more often than it wants", async () => {
  const it = await rig();
  it.api.put(service("a"));
  const watched = await it.started();
  await settled(it);
  it.api.refuse(30, 503);
  it.api.refuse(1, 429, { "retry-after": "1" });
  it.api.dropWatches();
  it.api.put(service("a", 81));
  await expect.poll(() => portsOf(watched)).toEqual([["a", 81]]);
  await expect.poll(() => api429(it), { timeout: 5_000 }).toBe(true);
  expect(it.log.filter(({ level }) => level >= WARN)).toHaveLength(1);
});

/** All is watched again, the one that was told to wait for a second too. */
const api429 = ({ api }: ClusterRig) => api.watches === WATCHED_KINDS.length;

test("events that come twice, late, or behind a removal change nothing", async () => {
  const it = await rig();
  it.api.put(service("a"));
  const watched = await it.started();
  await settled(it);
  // Each batch is followed by all that was sent before, and comes backwards.
  it.api.disturb = (events, sent) => [...events.toReversed(), ...sent, ...events];
  it.api.delayMs = 5;
  for (let round = 0; round < 20; round++) {
    it.api.put(service("a", 100 + round));
    it.api.put(service("b", 100 + round));
    if (round % 3 === 0) it.api.delete("Service", "shop", "b");
    if (round % 4 === 0) await pause(10);
  }
  const there = () =>
    it.api.objects.map(({ metadata, spec }) => [
      metadata.name,
      (spec as { ports: { port: number }[] }).ports[0]!.port,
    ]);
  await expect.poll(() => portsOf(watched)).toEqual(there());
  await pause(50);
  expect(portsOf(watched)).toEqual(there());
});

test("a list that ends in the middle is not believed", async () => {
  const it = await rig();
  for (let i = 0; i < 20; i++) it.api.put(service(`s${i}`));
  const watched = await it.started();
  await settled(it);
  it.api.cutLists(2 * WATCHED_KINDS.length);
  it.api.expireWatches();
  it.api.put(service("s0", 81));
  await expect.poll(() => portsOf(watched)[0]).toEqual(["s0", 81]);
  await settled(it);
  expect(watched.objects.size).toBe(20);
  expect(watched.changes.flatMap(({ removed }) => removed)).toEqual([]);
});

test("an event that ends in the middle comes again whole", async () => {
  const it = await rig();
  it.api.put(service("a"));
  const watched = await it.started();
  await settled(it);
  it.api.cutEvents(1);
  it.api.put(service("a", 81));
  await expect.poll(() => portsOf(watched)).toEqual([["a", 81]]);
  expect(it.api.requestsOf("list", "Service")).toHaveLength(1);
});

const OPTIONAL = ["TCPRoute", "TLSRoute", "Telemetry", "WasmPlugin", "ServiceEntry"] as const;

test("missing definitions are said once, and read when they are installed", async () => {
  const it = await rig();
  for (const kind of OPTIONAL) it.api.uninstall(kind);
  it.api.put(service("a"));
  const watched = await it.started();
  expect(watched.objects.size).toBe(1);
  await settled(it, OPTIONAL.length);
  await pause(200);
  const told = it.log.filter(({ kinds }) => kinds !== undefined);
  expect(told.map(({ kinds }) => kinds)).toEqual([[...OPTIONAL].sort()]);
  it.api.install("TCPRoute");
  it.api.put(route("r"));
  await expect.poll(() => [...watched.objects.keys()]).toContain("TCPRoute/shop/r");
  await settled(it, OPTIONAL.length - 1);
  expect(it.log.filter(({ level }) => level >= WARN)).toEqual([]);
});

test("no definition at all: only what Kubernetes has itself", async () => {
  const it = await rig();
  const foreign = WATCHED_KINDS.filter((kind) => kind.match(/Route|Gateway|Policy|Auth|Grant/));
  for (const kind of foreign) it.api.uninstall(kind);
  it.api.put(service("a"));
  expect((await it.started()).objects.size).toBe(1);
});

test("a definition that is removed takes its objects along, and may come back", async () => {
  const it = await rig();
  it.api.put(service("a"));
  it.api.put(route("r"));
  const watched = await it.started();
  await settled(it);
  it.api.uninstall("TCPRoute");
  await expect.poll(() => [...watched.objects.keys()]).toEqual(["Service/shop/a"]);
  await expect.poll(() => it.log.filter(({ level }) => level >= WARN)).toHaveLength(1);
  it.api.install("TCPRoute");
  it.api.put(route("r"));
  await expect.poll(() => watched.objects.size).toBe(2);
  await settled(it);
});

test("a kind that the server forgets for a moment keeps its objects", async () => {
  const it = await rig();
  it.api.put(route("r"));
  const watched = await it.started();
  await settled(it);
  it.api.hide("TCPRoute");
  await pause(100);
  it.api.install("TCPRoute");
  await settled(it);
  expect(watched.changes.filter(hasObjects)).toEqual([]);
  expect(watched.objects.size).toBe(1);
});

test("a server that is still starting is not believed when it knows no definitions", async () => {
  const it = await rig();
  it.api.isReady = false;
  it.api.put(route("r"));
  it.api.hide("TCPRoute");
  const starting = it.started();
  await pause(150);
  it.api.install("TCPRoute");
  it.api.isReady = true;
  expect([...(await starting).objects.keys()]).toEqual(["TCPRoute/shop/r"]);
});

test("a policy that may not be read holds the start; said once, with what to grant", async () => {
  const it = await rig();
  it.api.put(service("a"));
  it.api.forbid("AuthorizationPolicy");
  let isStarted = false;
  const starting = it.started().then((watched) => {
    isStarted = true;
    return watched;
  });
  await pause(200);
  expect(isStarted).toBe(false);
  expect(it.log.filter(({ level }) => level >= WARN)).toEqual([
    expect.objectContaining({
      kind: "AuthorizationPolicy",
      msg: expect.stringContaining("nothing is served before it can be read"),
      grant:
        '{"apiGroups":["security.istio.io"],"resources":["authorizationpolicies"],"verbs":["list","watch"]}',
    }),
  ]);
  it.api.permit("AuthorizationPolicy");
  expect((await starting).objects.size).toBe(1);
});

test("a definition that is installed while the start waits is not overlooked", async () => {
  const it = await rig();
  it.api.forbid("AuthorizationPolicy");
  it.api.hide("TCPRoute");
  const starting = it.started({ timings: { ...HASTE, probeMs: 300 } });
  await pause(80);
  it.api.install("TCPRoute");
  it.api.put(route("r"));
  it.api.permit("AuthorizationPolicy");
  expect([...(await starting).objects.keys()]).toEqual(["TCPRoute/shop/r"]);
});

test.each(["Telemetry", "Node"] as KindName[])("%s may be forbidden", async (kind) => {
  const it = await rig();
  it.api.put(service("a"));
  it.api.forbid(kind);
  const watched = await it.started();
  await pause(150);
  expect(it.log.filter(({ level }) => level >= WARN)).toHaveLength(1);
  it.api.permit(kind);
  await settled(it);
  expect(it.log.at(-1)!.msg).toBe("the kind can be read now");
  expect(watched.objects.size).toBe(1);
});

test("a permission that is taken away leaves what was read in force", async () => {
  const it = await rig();
  it.api.put(route("r"));
  const watched = await it.started();
  await settled(it);
  it.api.forbid("TCPRoute");
  await pause(150);
  expect(watched.objects.size).toBe(1);
  it.api.put(route("s"));
  it.api.permit("TCPRoute");
  await expect.poll(() => watched.objects.size).toBe(2);
});

test("who may list and not watch sees changes late", async () => {
  const it = await rig();
  it.api.put(route("r"));
  it.api.forbid("TCPRoute", "watch");
  const watched = await it.started();
  it.api.put(route("s"));
  await expect.poll(() => watched.objects.size).toBe(2);
  await pause(150);
  expect(it.log.filter(({ level }) => level >= WARN)).toHaveLength(1);
});

test("a policy that never was usable denies what it selects; one that was stays as it was", async () => {
  const it = await rig();
  const policy = (name: string, spec: object): KubeObject => ({
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name, namespace: "shop" },
    spec,
  });
  const selector = { matchLabels: { app: "a" } };
  it.api.put(policy("rules", { selector, action: "ALLOW", rules: [{ form: [] }] }));
  it.api.put(policy("selector", { selector: { matchLabel: {} }, rules: [] }));
  it.api.put(policy("good", { selector, action: "ALLOW", rules: [{}] }));
  const watched = await it.started();
  const specs = () =>
    Object.fromEntries(
      [...watched.objects.values()].map((o) => [o.value.metadata.name, o.value.spec]),
    );
  const good = { selector, action: "ALLOW", rules: [{}] };
  expect(specs()).toEqual({
    rules: { selector, action: "DENY", rules: [{}] },
    selector: { action: "DENY", rules: [{}] },
    good,
  });
  expect(watched.source.diagnostics.map((d) => d.message)).toEqual([
    'unknown field "spec.rules[0].form"',
    expect.stringContaining("denies all that it selects"),
    'unknown field "spec.selector.matchLabel", did you mean "matchLabels"?',
    expect.stringContaining("denies all that it selects"),
  ]);
  it.api.put(policy("good", { selector, action: "PERMIT", rules: [{}] }));
  await watched.next();
  expect(specs().good).toEqual(good);
  expect(watched.source.diagnostics.at(-1)!.message).toContain("last usable version stays");
  // Another object of that name has no earlier version.
  it.api.delete("AuthorizationPolicy", "shop", "good");
  it.api.put(policy("good", { selector, action: "PERMIT", rules: [{}] }));
  await expect.poll(() => specs().good).toEqual({ selector, action: "DENY", rules: [{}] });
});

test("what no mesh reads is not kept", async () => {
  const it = await rig();
  it.api.put({
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: "p",
      namespace: "shop",
      labels: { app: "a" },
      annotations: { "kubectl.kubernetes.io/last-applied-configuration": "{}", mine: "1" },
    },
    spec: {
      nodeName: "n",
      volumes: [{ name: "v" }],
      containers: [{ name: "c", image: "i", env: [{ name: "E" }], ports: [{ containerPort: 80 }] }],
    },
    status: {
      podIP: "10.0.0.1",
      containerStatuses: [{ name: "c" }],
      conditions: [{ type: "Ready", status: "True", lastProbeTime: "2026-01-01T00:00:00Z" }],
    },
  });
  it.api.put({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "large", namespace: "istio-system" },
    data: { large: "x".repeat(1000) },
  });
  it.api.put({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "s", namespace: "istio-system" },
  });
  const watched = await it.started();
  expect([...watched.objects.keys()]).toEqual(["Pod/shop/p"]);
  const { metadata, ...parts } = watched.objects.get("Pod/shop/p")!.value;
  expect(Object.keys(metadata).sort()).toEqual([
    "annotations",
    "creationTimestamp",
    "generation",
    "labels",
    "name",
    "namespace",
    "uid",
  ]);
  expect(metadata.annotations).toEqual({ mine: "1" });
  expect(parts).toEqual({
    apiVersion: "v1",
    kind: "Pod",
    spec: { nodeName: "n", containers: [{ name: "c", ports: [{ containerPort: 80 }] }] },
    status: { podIP: "10.0.0.1", conditions: [{ type: "Ready", status: "True" }] },
  });
  expect(it.api.requestsOf("list", "Secret")).toEqual([]);
});

test("what changes in a part that no mesh reads is no change", async () => {
  const it = await rig();
  const node = (time: string): KubeObject => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "n" },
    status: { conditions: [{ type: "Ready", status: "True", lastHeartbeatTime: time }] },
  });
  it.api.put(node("1"));
  it.api.put(service("a"));
  const watched = await it.started();
  const versionBefore = it.api.version;
  it.api.put(node("2"));
  it.api.put(service("a", 81));
  await expect.poll(() => portsOf(watched)).toEqual([["a", 81]]);
  await pause(30);
  expect(it.api.version).toBeGreaterThan(versionBefore);
  expect(watched.changes.flatMap(({ upserted }) => upserted.map(({ kind }) => kind))).toEqual([
    "Service",
  ]);
});
