import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import type { KubeObject } from "../../api/object.ts";
import type { Refusal, Written } from "../../control/source/kubernetes/kube-client.ts";
import { CommandError } from "../command-error.ts";
import { objectPath } from "./installed-kinds.ts";
import { FIELD_MANAGER, InstalledObjects } from "./installed-objects.ts";

const LABEL = "waystone.io/installed-in";

/** Keeps objects by path, as far as server-side apply matters here. */
class Cluster {
  readonly objects = new Map<string, KubeObject>();
  readonly refusals = new Map<string, Refusal>();
  readonly missing = new Set<string>();
  #version = 0;

  async get(path: string): Promise<Refusal | { body: unknown }> {
    const refused = this.refusals.get(`get ${path}`);
    if (refused !== undefined) return refused;
    if (this.missing.has(path)) return refusal(404);
    if (path === "/apis/gateway.networking.k8s.io/v1") return { body: {} };
    const found = this.objects.get(path);
    if (found !== undefined) return { body: found };
    const isCollection = !/\/[^/]+\/[^/]+$/.test(path.replace(/^\/apis?(\/[^/]+)?\/v\d/, ""));
    if (!isCollection) return refusal(404);
    const name = path.slice(path.lastIndexOf("/"));
    const items = [...this.objects].filter(
      ([at, { metadata }]) => at.includes(`${name}/`) && metadata.labels?.[LABEL] !== undefined,
    );
    // Lists do not say of each element what it is.
    return { body: { items: items.map(([, { kind: _, ...one }]) => one) } };
  }

  async write(kind: string, path: string, query: object, object: unknown): Promise<Written> {
    const refused = this.refusals.get(`${kind} ${path}`);
    if (refused !== undefined) return refused;
    if (kind === "remove") {
      const { preconditions } = object as { preconditions: { uid?: string } };
      const before = this.objects.get(path);
      if (before === undefined) return refusal(404);
      if (before.metadata.uid !== preconditions.uid) return refusal(409);
      this.objects.delete(path);
      return { body: {} };
    }
    const { fieldManager } = query as { fieldManager: string };
    const operation = kind === "apply" ? "Apply" : "Update";
    const at = kind === "create" ? `${path}/${(object as KubeObject).metadata.name}` : path;
    return { body: this.put(at, object as KubeObject, fieldManager, operation) };
  }

  put(path: string, object: KubeObject, manager: string, operation = "Apply"): KubeObject {
    const before = this.objects.get(path);
    const version = (before?.metadata as { resourceVersion?: string })?.resourceVersion;
    const managedFields = [{ manager, operation }];
    const stored = (resourceVersion: string | undefined) => ({
      ...object,
      metadata: { ...object.metadata, uid: path, managedFields, resourceVersion },
    });
    const isSame = isDeepStrictEqual(before, stored(version));
    const now = stored(isSame ? version : String(++this.#version)) as unknown as KubeObject;
    this.objects.set(path, now);
    return now;
  }
}

function refusal(status: number, message = ""): Refusal {
  return { isRefusal: true, status, message, retryAfterMs: 0 };
}

function made(cluster: Cluster, isForced = false) {
  const lines: string[] = [];
  const tell = (line: string) => void lines.push(line);
  return { lines, objects: new InstalledObjects({ client: cluster, isForced, tell }) };
}

const named = (kind: string, name: string, namespace?: string, spec?: object): KubeObject => ({
  apiVersion: "v1",
  kind,
  metadata: {
    name,
    ...(namespace === undefined ? {} : { namespace }),
    labels: { [LABEL]: "mesh" },
  },
  ...(spec && { spec }),
});

const SERVICE = named("Service", "istiod", "mesh", { a: 1 });
const CLASS = named("GatewayClass", "istio-waypoint", undefined, { controllerName: "ours" });

const rendered = (...objects: KubeObject[]) =>
  objects.map((object) => ({ object, isLeftToOthers: object === CLASS }));

test("apply() tells what is created, configured and unchanged", async () => {
  const cluster = new Cluster();
  const { lines, objects } = made(cluster);
  await objects.apply(rendered(SERVICE, CLASS));
  await objects.apply(rendered(named("Service", "istiod", "mesh", { a: 2 }), CLASS));
  expect(lines).toEqual([
    "Service mesh/istiod created",
    "GatewayClass istio-waypoint created",
    "Service mesh/istiod configured",
    "GatewayClass istio-waypoint unchanged",
  ]);
});

test("apply() leaves somebody else's object as it is, and refuses another controller's", async () => {
  const cluster = new Cluster();
  cluster.put(objectPath(CLASS), CLASS, "pilot-discovery", "Update");
  const { lines, objects } = made(cluster);
  await objects.apply(rendered(CLASS));
  expect(lines).toEqual(["GatewayClass istio-waypoint left as it is: somebody else has made it"]);
  cluster.put(objectPath(CLASS), { ...CLASS, spec: { controllerName: "theirs" } }, "them");
  await expect(objects.apply(rendered(CLASS))).rejects.toThrow(
    "of the controller theirs, not ours",
  );
});

test("apply() ends at what the server refuses, and says what to do", async () => {
  for (const [status, hint] of [
    [403, "cluster-admin"],
    [409, "--force-conflicts"],
    [401, "does not know you"],
  ] as const) {
    const cluster = new Cluster();
    cluster.refusals.set(`apply ${objectPath(SERVICE)}`, refusal(status, "because"));
    const { lines, objects } = made(cluster);
    const failed = await objects.apply(rendered(SERVICE, CLASS)).catch((caught: unknown) => caught);
    expect(failed).toBeInstanceOf(CommandError);
    expect(failed).toMatchObject({
      message: "cannot apply Service mesh/istiod: because",
      hint: expect.stringContaining(hint),
      exitCode: 1,
    });
    expect(lines).toEqual([]);
  }
});

test("check() asks for the Gateway API's kinds before anything is written", async () => {
  const cluster = new Cluster();
  await made(cluster).objects.check();
  cluster.missing.add("/apis/gateway.networking.k8s.io/v1");
  await expect(made(cluster).objects.check()).rejects.toThrow("does not have the Gateway API's");
});

test("ensureNamespace() makes one only where there is none", async () => {
  const cluster = new Cluster();
  const { lines, objects } = made(cluster);
  await objects.ensureNamespace("mesh");
  await objects.ensureNamespace("mesh");
  expect(lines).toEqual(["Namespace mesh created"]);
});

test("find() and remove() see what was applied here, and nothing of others", async () => {
  const cluster = new Cluster();
  const { lines, objects } = made(cluster);
  await objects.apply(rendered(SERVICE, CLASS));
  const helms = named("ConfigMap", "istio", "mesh");
  cluster.put(objectPath(helms), helms, "helm", "Update");
  // Its kind is gone with its definitions.
  cluster.missing.add("/apis/gateway.networking.k8s.io/v1/gatewayclasses");
  const found = await objects.find();
  expect(found.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual(["Service istiod"]);
  lines.length = 0;
  await objects.remove(found);
  expect(lines).toEqual(["Service mesh/istiod removed"]);
  expect([...cluster.objects.keys()].sort()).toEqual([objectPath(helms), objectPath(CLASS)].sort());
});

test("remove() takes an object that is gone, or is another one by now, as removed", async () => {
  const cluster = new Cluster();
  const { objects } = made(cluster);
  await objects.apply(rendered(SERVICE));
  const found = await objects.find();
  await objects.remove(found);
  await objects.remove(found);
  cluster.put(objectPath(SERVICE), SERVICE, FIELD_MANAGER);
  cluster.refusals.set(`remove ${objectPath(SERVICE)}`, refusal(403, "no"));
  await expect(objects.remove(found)).rejects.toThrow("cannot delete Service mesh/istiod: no");
});
