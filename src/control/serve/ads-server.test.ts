/**
 * The exchanges of the real ztunnel with its control plane, each as protocols.md §1.5 has it, over
 * the port that serves configuration and certificates; and what no ztunnel does.
 */
import { createClient } from "@connectrpc/connect";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { ControlPlanePort, ZTUNNEL } from "../../../test/support/control-plane-port.ts";
import { NODE, ScriptedZtunnel } from "../../../test/support/scripted-ztunnel.ts";
import { CaClient } from "../../agent/ca-client.ts";
import { Certificates } from "../../agent/certificates.ts";
import { readObjects } from "../../api/read-objects.ts";
import { log } from "../../kit/log.ts";
import { decodeAddress } from "../../wire/address.ts";
import { AggregatedDiscoveryService } from "../../wire/gen/envoy/discovery_pb.ts";
import { RESOURCE_TYPES } from "../../wire/resource.ts";
import { decodeRevision } from "../../wire/revision.ts";
import { ControlPlane } from "../control-plane.ts";
import { MeshResources } from "./mesh-resources.ts";

const { address, authorization, revision } = RESOURCE_TYPES;

const SERVER = "Kubernetes//Pod/default/server";
const SERVICE = "default/server.default.svc.cluster.local";

const MESH = `
apiVersion: v1
kind: Namespace
metadata: { name: default, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: v1
kind: Pod
metadata: { name: server, namespace: default, labels: { app: server } }
spec: { serviceAccountName: server, nodeName: node-1, containers: [{ name: app }] }
status: { phase: Running, podIP: 10.0.0.1, conditions: [{ type: Ready, status: "True" }] }
---
apiVersion: v1
kind: Pod
metadata: { name: ztunnel-7, namespace: istio-system }
spec: { serviceAccountName: ztunnel, nodeName: node-1, containers: [{ name: app }] }
status: { phase: Running, podIP: 10.0.0.9, conditions: [{ type: Ready, status: "True" }] }
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: default }
spec: { clusterIP: 10.96.0.1, selector: { app: server }, ports: [{ name: http, port: 80 }] }
`;

const POLICY = (name: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: default }
spec:
  selector: { matchLabels: { app: server } }
  action: DENY
  rules: [{ from: [{ source: { namespaces: [other] } }] }]
`;

let port: ControlPlanePort;
let control: ControlPlane;
let source: MeshResources;
const open: ScriptedZtunnel[] = [];
let probes = 0;

beforeAll(async () => {
  port = await ControlPlanePort.open();
});

beforeEach(async () => {
  control = new ControlPlane({ enrolment: "label" });
  await apply(MESH);
  source = new MeshResources(control);
  await port.serve(source, control);
});

afterEach(() => {
  for (const ztunnel of open.splice(0)) ztunnel.abort();
});

afterAll(() => port.close());

async function apply(yaml: string): Promise<void> {
  const { objects } = await readObjects(yaml, "mesh.yaml");
  control.apply({ upserted: objects, removed: [] });
}

function remove(kind: "Pod" | "Service" | "AuthorizationPolicy", name: string): void {
  control.apply({ upserted: [], removed: [{ kind, namespace: "default", name }] });
}

async function connect(): Promise<ScriptedZtunnel> {
  const ztunnel = new ScriptedZtunnel(port.transport(), await port.headers());
  open.push(ztunnel);
  return ztunnel;
}

/** Connected, and both first answers taken. */
async function readyZtunnel(): Promise<ScriptedZtunnel> {
  const ztunnel = await connect();
  ztunnel.begin();
  await ztunnel.take();
  await ztunnel.take();
  expect(ztunnel.isReady).toBe(true);
  return ztunnel;
}

/** What comes next is caused by this, and nothing was on its way before it. */
async function expectSilence(ztunnel: ScriptedZtunnel): Promise<void> {
  // Of a type that it has not asked for yet: each has one answer.
  const typeUrl = `type.googleapis.com/probe-${++probes}`;
  ztunnel.send({ typeUrl, node: NODE });
  expect((await ztunnel.read())!.typeUrl).toBe(typeUrl);
}

test("two first requests at once: all of each type, and ready when both are taken", async () => {
  await apply(POLICY("deny"));
  const ztunnel = await connect();
  ztunnel.begin();
  const responses = [await ztunnel.take(), await ztunnel.take()];
  expect(responses.map(({ typeUrl }) => typeUrl).sort()).toEqual([authorization, address]);
  expect(new Set(responses.map(({ nonce }) => nonce)).size).toBe(2);
  expect(ztunnel.names(address)).toEqual([...source.resources(address).keys()].sort());
  expect(ztunnel.names(authorization)).toEqual(["default/deny"]);
  for (const { typeUrl, resources } of responses) {
    for (const { name, version, resource } of resources) {
      expect(resource!.typeUrl).toBe(typeUrl);
      expect(version).toBe(source.resources(typeUrl as typeof address).get(name)!.version);
    }
  }
  expect(ztunnel.isReady).toBe(true);
  await expectSilence(ztunnel);
  // It takes no revisions: what it has acknowledged says how far it is.
  const [client] = port.discovery.clients;
  expect(client).toMatchObject({ node: NODE.id, enforcedRevision: source.revision.id });
});

test("a ztunnel is as far as what it has acknowledged, and behind with what it has refused", async () => {
  const ztunnel = await readyZtunnel();
  const enforced = () => port.discovery.clients[0]?.enforcedRevision;
  await expectSilence(ztunnel);
  const first = source.revision.id;
  expect(enforced()).toBe(first);
  await apply(POLICY("next"));
  // The policy, and the workload that it selects.
  const policy = (await ztunnel.read())!;
  await ztunnel.take();
  await expectSilence(ztunnel);
  expect(source.revision.id).toBeGreaterThan(first);
  expect(enforced()).toBe(first);
  ztunnel.refuse(policy, "no");
  await expectSilence(ztunnel);
  expect(enforced()).toBe(first);
  ztunnel.send({ typeUrl: policy.typeUrl, responseNonce: policy.nonce });
  await expectSilence(ztunnel);
  expect(enforced()).toBe(source.revision.id);
});

test("a type without resources has one empty answer, so that it can be taken", async () => {
  const ztunnel = await readyZtunnel();
  expect(ztunnel.names(authorization)).toEqual([]);
  await expectSilence(ztunnel);
});

test("a change is sent alone; what is on the wire as before is not sent", async () => {
  const ztunnel = await readyZtunnel();
  await apply(MESH.replace("10.0.0.1,", "10.0.0.2,"));
  const { typeUrl, resources, removedResources } = await ztunnel.take();
  expect([typeUrl, resources.map(({ name }) => name), removedResources]).toEqual([
    address,
    [SERVER],
    [],
  ]);
  await apply(MESH.replace("10.0.0.1,", "10.0.0.2,"));
  await expectSilence(ztunnel);
});

test("a policy comes before the workload that names it, and goes after it", async () => {
  const ztunnel = await readyZtunnel();
  await apply(POLICY("deny"));
  const added = [await ztunnel.take(), await ztunnel.take()];
  expect(added.map(({ typeUrl }) => typeUrl)).toEqual([authorization, address]);
  const { type } = decodeWorkload(added[1]!.resources[0]!.resource!.value);
  expect(type).toEqual(["default/deny"]);
  // One goes, another comes, in one swap of the mesh.
  const { objects } = await readObjects(POLICY("other"), "p.yaml");
  const gone = { kind: "AuthorizationPolicy", namespace: "default", name: "deny" } as const;
  control.apply({ upserted: objects, removed: [gone] });
  const swapped = [await ztunnel.take(), await ztunnel.take(), await ztunnel.take()];
  expect(
    swapped.map(({ resources, removedResources }) => [
      ...resources.map(({ name }) => `+${name}`),
      ...removedResources.map((name) => `-${name}`),
    ]),
  ).toEqual([["+default/other"], [`+${SERVER}`], ["-default/deny"]]);
  remove("AuthorizationPolicy", "other");
  const removed = [await ztunnel.take(), await ztunnel.take()];
  expect(removed.map(({ typeUrl }) => typeUrl)).toEqual([address, authorization]);
  await expectSilence(ztunnel);
});

function decodeWorkload(bytes: Uint8Array): { type: readonly string[] } {
  const decoded = decodeAddress(bytes);
  if (decoded.kind !== "workload") throw new Error("no workload");
  return { type: decoded.workload.authorizationPolicies };
}

test("what is removed is listed by name, and comes back with its workloads", async () => {
  const ztunnel = await readyZtunnel();
  remove("Service", "server");
  const { removedResources } = await ztunnel.take();
  expect(removedResources).toEqual([SERVICE]);
  await apply(MESH);
  await ztunnel.take();
  expect(ztunnel.names(address)).toEqual([...source.resources(address).keys()].sort());
  await expectSilence(ztunnel);
});

test("a refusal (code 0) is counted and not answered; the next change is sent", async () => {
  const ztunnel = await readyZtunnel();
  const before = port.counted("waystone_ads_refusals_total");
  await apply(MESH.replace("10.0.0.1,", "10.0.0.3,"));
  ztunnel.refuse((await ztunnel.read())!, `${SERVER}: ${"no ".repeat(100_000)}`);
  await expectSilence(ztunnel);
  expect(port.counted("waystone_ads_refusals_total")).toBe(before + 1);
  const [client] = port.discovery.clients;
  const { refusal } = client!.types.find(({ type }) => type === address)!;
  expect(refusal).toMatch(/^Kubernetes\/\/Pod\/default\/server: no no/);
  expect(refusal.length).toBeLessThan(2_000);
  await apply(MESH);
  expect((await ztunnel.take()).resources).toHaveLength(1);
  await expectSilence(ztunnel);
  const [now] = port.discovery.clients;
  expect(now!.types.find(({ type }) => type === address)!.refusal).toBe("");
});

test("a ztunnel that comes back is sent what differs, and what is gone by name", async () => {
  await apply(POLICY("deny"));
  const before = await readyZtunnel();
  before.abort();
  await apply(MESH.replace("10.0.0.1,", "10.0.0.4,"));
  remove("Service", "server");
  const after = (await connect()).resume(before);
  after.begin("echoed");
  const responses = [await after.take(), await after.take()];
  const byType = new Map(responses.map((response) => [response.typeUrl, response]));
  expect(byType.get(authorization)).toMatchObject({ resources: [], removedResources: [] });
  expect(byType.get(address)!.resources.map(({ name }) => name)).toEqual([SERVER]);
  expect(byType.get(address)!.removedResources).toEqual([SERVICE]);
  expect(after.isReady).toBe(true);
  expect(after.names(address)).toEqual([...source.resources(address).keys()].sort());
});

test('a ztunnel of old remembers names with the version "": all is sent again', async () => {
  await apply(POLICY("deny"));
  const before = await readyZtunnel();
  before.abort();
  remove("Pod", "server");
  const after = (await connect()).resume(before);
  after.begin("empty");
  const responses = [await after.take(), await after.take()];
  const removed = responses.flatMap(({ removedResources }) => removedResources);
  expect(removed).toEqual([SERVER]);
  const sent = responses.flatMap(({ resources }) => resources.map(({ name }) => name));
  const all = [...source.resources(address).keys(), ...source.resources(authorization).keys()];
  expect(sent.sort()).toEqual(all.sort());
});

test("a control plane that starts again sends only what differs from before", async () => {
  const before = await readyZtunnel();
  port.cut();
  control = new ControlPlane({ enrolment: "label" });
  await apply(MESH.replace("port: 80 ", "port: 81 "));
  source = new MeshResources(control);
  await port.serve(source, control);
  const after = (await connect()).resume(before);
  after.begin("echoed");
  const responses = [await after.take(), await after.take()];
  const sent = responses.flatMap(({ resources }) => resources.map(({ name }) => name));
  expect(sent.sort()).toEqual([SERVER, SERVICE]);
});

test("names are subscribed to, and given up again", async () => {
  const ztunnel = await connect();
  const subscribe = (names: string[]) =>
    ztunnel.send({ node: NODE, typeUrl: address, resourceNamesSubscribe: names });
  subscribe([SERVICE, "default/nothing"]);
  const first = await ztunnel.take();
  expect(first.resources.map(({ name }) => name)).toEqual([SERVICE]);
  // Asked for and not there: said, so that whoever waits for it waits no longer.
  expect(first.removedResources).toEqual(["default/nothing"]);
  await apply(MESH.replace("10.0.0.1,", "10.0.0.5,"));
  await expectSilence(ztunnel);
  subscribe([SERVER]);
  expect((await ztunnel.take()).resources.map(({ name }) => name)).toEqual([SERVER]);
  ztunnel.send({ typeUrl: address, resourceNamesUnsubscribe: [SERVER] });
  await expectSilence(ztunnel);
  await apply(MESH);
  await expectSilence(ztunnel);
});

test("* and its end; asking again is answered again", async () => {
  const ztunnel = await connect();
  const all = source.resources(address).size;
  ztunnel.send({ node: NODE, typeUrl: address, resourceNamesSubscribe: ["*"] });
  expect((await ztunnel.take()).resources).toHaveLength(all);
  ztunnel.send({ typeUrl: address, resourceNamesSubscribe: [SERVICE] });
  expect((await ztunnel.take()).resources).toHaveLength(1);
  ztunnel.send({ typeUrl: address, resourceNamesUnsubscribe: ["*"] });
  await expectSilence(ztunnel);
  await apply(MESH.replace("port: 80 ", "port: 82 "));
  // Of both that changed, the one that is still named.
  expect((await ztunnel.take()).resources.map(({ name }) => name)).toEqual([SERVICE]);
  ztunnel.send({ typeUrl: address, resourceNamesSubscribe: ["*"] });
  expect((await ztunnel.take()).resources).toHaveLength(all);
});

test("on demand: a first request for nothing, then single names", async () => {
  const ztunnel = await connect();
  const nothing = { resourceNamesSubscribe: ["*"], resourceNamesUnsubscribe: ["*"] };
  ztunnel.send({ node: NODE, typeUrl: address, ...nothing });
  expect(await ztunnel.take()).toMatchObject({ resources: [], removedResources: [] });
  ztunnel.send({ typeUrl: address, resourceNamesSubscribe: [SERVICE] });
  expect((await ztunnel.take()).resources.map(({ name }) => name)).toEqual([SERVICE]);
});

test("an unknown type has one empty answer, however often it is asked for", async () => {
  const ztunnel = await connect();
  const typeUrl = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
  for (let i = 0; i < 3; i++) ztunnel.send({ node: NODE, typeUrl });
  expect(await ztunnel.read()).toMatchObject({ typeUrl, resources: [], removedResources: [] });
  await expectSilence(ztunnel);
});

test("the revision follows what it stands for, and its ACK says what is enforced", async () => {
  const proxy = await connect();
  proxy.begin();
  proxy.send({ typeUrl: revision });
  const types: string[] = [];
  let stamp: ReturnType<typeof decodeRevision> | undefined;
  while (stamp === undefined) {
    const { typeUrl, resources } = await proxy.take();
    types.push(typeUrl);
    if (typeUrl === revision) stamp = decodeRevision(resources[0]!.resource!.value);
  }
  expect(types.slice(0, -1)).toEqual(expect.arrayContaining([address, authorization]));
  expect(stamp).toEqual(source.revision);
  await expectSilence(proxy);
  expect(port.discovery.clients[0]!.enforcedRevision).toBe(source.revision.id);
});

test("without a good token there is no stream, and nothing is said of why", async () => {
  const before = port.counted("waystone_ads_streams_refused_total");
  for (const headers of [{}, { authorization: "Bearer x" }, { authorization: "Basic eDp4" }]) {
    const ztunnel = new ScriptedZtunnel(port.transport(), headers);
    ztunnel.begin();
    const refused = { code: 16, rawMessage: "the token is not accepted" };
    await expect(ztunnel.read()).rejects.toMatchObject(refused);
    ztunnel.abort();
  }
  expect(port.counted("waystone_ads_streams_refused_total")).toBe(before + 3);
});

test("who asks for more than can be is ended, and counted", async () => {
  const series = 'waystone_ads_streams_refused_total{reason="request"}';
  const before = port.counted(series);
  for (const request of [
    { typeUrl: address, resourceNamesSubscribe: ["n".repeat(2_000)] },
    { typeUrl: "t".repeat(2_000) },
  ]) {
    const greedy = await connect();
    greedy.send(request);
    await expect(greedy.read()).rejects.toMatchObject({
      rawMessage: expect.stringMatching(/name/),
    });
    greedy.abort();
  }
  expect(port.counted(series)).toBe(before + 2);
});

test("a client that ends is ended well; a drain tells it to come back", async () => {
  const leaving = await readyZtunnel();
  leaving.end();
  expect(await leaving.read()).toBeUndefined();
  const staying = [await readyZtunnel(), await readyZtunnel()];
  const drained = port.drain();
  for (const ztunnel of staying) {
    const goodbye = { code: 14, rawMessage: "transport is closing" };
    await expect(ztunnel.read()).rejects.toMatchObject(goodbye);
  }
  await drained;
  expect(port.counted("waystone_ads_clients")).toBe(0);
});

test("certificates come by the same port: a workload's, and the ztunnel's own", async () => {
  const channel = {
    transport: async () => port.transport(),
    headers: () => port.headers(),
  };
  const logger = log("test");
  const workload = "spiffe://cluster.local/ns/default/sa/server";
  const own = `spiffe://cluster.local/ns/istio-system/sa/${ZTUNNEL.serviceAccount}`;
  for (const [impersonates, spiffeId] of [
    [true, workload],
    [false, own],
  ] as const) {
    const ca = new CaClient({ channel, impersonates });
    const certificates = new Certificates(ca, { ttlMs: 3_600_000, log: logger });
    expect((await certificates.get(spiffeId)).spiffeId).toBe(spiffeId);
    certificates.close();
  }
  const stranger = new Certificates(new CaClient({ channel, impersonates: true }), {
    ttlMs: 3_600_000,
    log: logger,
  });
  const elsewhere = "spiffe://cluster.local/ns/default/sa/elsewhere";
  await expect(stranger.get(elsewhere)).rejects.toThrow("impersonation authentication failure");
  stranger.close();
});

test("names without end are refused, and cost other streams nothing", async () => {
  const ztunnel = await readyZtunnel();
  const greedy = await connect();
  const names = Array.from({ length: 60_000 }, (_, i) => `default/nothing-${i}-${"x".repeat(50)}`);
  for (let i = 0; i < 3; i++) {
    const resourceNamesSubscribe = names.map((name) => `${name}-${i}`);
    greedy.send({ node: NODE, typeUrl: address, resourceNamesSubscribe });
  }
  const ended = (async () => {
    while ((await greedy.read()) !== undefined);
  })();
  await expect(ended).rejects.toMatchObject({ code: 8 });
  await apply(MESH.replace("10.0.0.1,", "10.0.0.6,"));
  expect((await ztunnel.take()).resources).toHaveLength(1);
});

test("a request that is no message ends its stream alone", async () => {
  const ztunnel = await readyZtunnel();
  const client = createClient(AggregatedDiscoveryService, port.transport());
  const broken = client.deltaAggregatedResources(
    // biome-ignore lint/correctness/useYield: it breaks before its first request
    (async function* () {
      throw new Error("broken off");
    })(),
    { headers: await port.headers() },
  );
  await expect(broken[Symbol.asyncIterator]().next()).rejects.toThrow();
  await apply(MESH.replace("10.0.0.1,", "10.0.0.7,"));
  expect((await ztunnel.take()).resources).toHaveLength(1);
});
