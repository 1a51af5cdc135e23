/**
 * A real mesh for a set of cases: control plane, ztunnel, waypoints and echo workloads on loopback
 * (`waystone up` as a library). It plays the API server, too: it enrols namespaces, gives objects
 * their creation times, and changes what is applied from test to test.
 */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectSocks } from "../../../src/cli/socks-connect.ts";
import { setLogLevel } from "../../../src/kit/log.ts";
import type { EchoAnswer } from "../../../src/local/echo-answer.ts";
import type { WorkloadOverride } from "../../../src/local/echoes.ts";
import { LocalMesh } from "../../../src/local/local-mesh.ts";
import type { MeshReport, WorkloadReport } from "../../../src/local/mesh-report.ts";
import {
  isPatch,
  namespaceOf,
  type ObjectName,
  type Patch,
  type Resource,
  type RouteCase,
} from "./cases.ts";

setLogLevel("fatal");

/** Who has seen a request that carries this header can be asked. */
export const SEEN_HEADER = "x-conformance-seen";

const RELOAD_TIMEOUT_MS = 1_000;
const SEEN_MAX = 10_000;
const CREATED_AFTER = "test.example/create-after";
const FIRST_CREATED_MS = Date.parse("2024-01-01T00:00:00Z");

export interface RouteMeshOptions {
  readonly base: readonly Resource[];
  /** Namespaces whose services get a waypoint. */
  readonly waypointIn?: readonly string[];
  /** Namespaces that are in the mesh, besides. */
  readonly enrolled?: readonly string[];
  readonly isIstioCompatible?: boolean;
  readonly overrides?: readonly WorkloadOverride[];
}

export class RouteMesh {
  readonly #base: Resource[];
  readonly #mesh: LocalMesh;
  readonly #directory: string;
  #applied: Resource[] = [];
  #written = "";
  #onReload: () => void = () => {};
  /** Workloads (`<ns>/<pod>`) by the value of SEEN_HEADER, newest last. */
  readonly #seen = new Map<string, string[]>();

  static async start(options: RouteMeshOptions): Promise<RouteMesh> {
    const directory = await mkdtemp(join(tmpdir(), "waystone-routes-"));
    const base = enrolled(options);
    await writeFile(join(directory, "mesh.yaml"), yamlOf(base));
    let mesh: RouteMesh | undefined;
    const local = await LocalMesh.start({
      paths: [join(directory, "mesh.yaml")],
      overrides: options.overrides ?? [],
      stateDirectory: directory,
      addressSeed: directory,
      version: "0.0.0",
      ...{ adminPort: 0, metricsPort: 0, readinessPort: 0, socksPort: 0 },
      drainTimeoutMs: 500,
      onEvent: (event) => {
        if (event.kind === "reloaded") mesh?.noteReload();
      },
      onEcho: (answer) => mesh?.noteEcho(answer),
      onQuit: () => {},
    });
    mesh = new RouteMesh(local, directory, base);
    return mesh;
  }

  private constructor(mesh: LocalMesh, directory: string, base: Resource[]) {
    this.#mesh = mesh;
    this.#directory = directory;
    this.#base = base;
  }

  /** Instead of what the last test had: these, beside the base. */
  async apply(resources: readonly (Resource | Patch)[], cases: readonly RouteCase[]) {
    const patches = resources.filter(isPatch);
    const own = resources.filter((resource): resource is Resource => !isPatch(resource));
    const names = new Set(own.map(keyOf));
    const kept = this.#base.filter((resource) => !names.has(keyOf(resource)));
    let all = [...kept.map((resource) => patched(resource, patches)), ...own];
    all = withClients(all, cases);
    // A slice that names no address stands for one that is filled before anything is sent.
    this.#applied = withCreationTimes(all);
    await this.#write();
    if (this.#fillSlices()) await this.#write();
  }

  async delete({ kind, namespace, name }: ObjectName): Promise<void> {
    const key = `${kind}/${namespace}/${name}`;
    this.#applied = this.#applied.filter((resource) => keyOf(resource) !== key);
    await this.#write();
  }

  has({ kind, namespace, name }: ObjectName): boolean {
    return this.#applied.some((resource) => keyOf(resource) === `${kind}/${namespace}/${name}`);
  }

  report(): MeshReport {
    return this.#mesh.report();
  }

  /** A connection to `host:port` as the workload's own, captured on its way. */
  async dial(from: WorkloadReport, host: string, port: number): Promise<net.Socket> {
    const report = this.report();
    const address = net.isIP(host) > 0 ? host : addressOf(report, from.namespace, host);
    if (report.addressMode === "ports") {
      const { socks, token } = this.#mesh.run;
      const login = { user: `${from.namespace}/${from.name}`, password: token };
      return await connectSocks(socks, login, address, port);
    }
    return await new Promise((resolve, reject) => {
      const options = { host: address, port, localAddress: from.address, noDelay: true };
      const socket = net.connect(options, () => {
        socket.off("error", reject);
        resolve(socket);
      });
      socket.once("error", reject);
    });
  }

  /** The pod that a case's client is. */
  client({ namespace, labels, app }: RouteCase["from"]): WorkloadReport {
    const owner = this.#applied.find(
      (r) => r.kind === "Deployment" && namespaceOf(r) === namespace && plays(r, labels, app),
    );
    const found = this.#podOf(owner?.metadata.name ?? "", namespace);
    if (found !== undefined) return found;
    throw new Error(`no pod of ${namespace} is ${JSON.stringify(labels ?? app)}`);
  }

  /** `{podIP:NAME}` and its like, replaced. */
  fillIn(text: string, namespace: string, uuid: string): string {
    return text.replace(
      /\{(podIP|serviceIP|uuid)(?::([^}]+))?\}/g,
      (_, what: string, name = "") => {
        if (what === "uuid") return uuid;
        const [own = "", ns = namespace] = String(name).split(".");
        if (what === "serviceIP") return addressOf(this.report(), ns, own);
        const owner = this.#applied.find(
          (r) =>
            r.kind === "Deployment" &&
            namespaceOf(r) === ns &&
            (r.metadata.name === own || plays(r, undefined, own)),
        );
        return this.#podOf(owner?.metadata.name ?? own, ns)?.address ?? `no-pod-${own}`;
      },
    );
  }

  /** The workloads (`<ns>/<pod>`) that a request with this value of SEEN_HEADER has reached. */
  seenBy(value: string): readonly string[] {
    return this.#seen.get(value) ?? [];
  }

  async stop(): Promise<void> {
    await this.#mesh.stop(200);
    this.#mesh.cut();
    await rm(this.#directory, { recursive: true, force: true });
  }

  #podOf(owner: string, namespace: string): WorkloadReport | undefined {
    return this.report().workloads.find(
      (w) => w.namespace === namespace && w.workloadName === owner && w.playedBy !== "waypoint",
    );
  }

  noteReload(): void {
    this.#onReload();
  }

  noteEcho({ namespace, workload, headers }: EchoAnswer): void {
    const value = headers[SEEN_HEADER];
    if (value === undefined) return;
    const [oldest] = this.#seen.keys();
    if (this.#seen.size >= SEEN_MAX && oldest !== undefined) this.#seen.delete(oldest);
    const before = this.#seen.get(value) ?? [];
    this.#seen.set(value, [...before, `${namespace}/${workload}`]);
  }

  /** True when there was one to fill: with the pods of `infra-backend-v1`, as upstream does. */
  #fillSlices(): boolean {
    let isFilled = false;
    this.#applied = this.#applied.map((resource) => {
      if (resource.kind !== "EndpointSlice" || resource.endpoints !== undefined) return resource;
      if (resource.addressType !== "IPv4") return { ...resource, endpoints: [] };
      isFilled = true;
      const pods = this.report().workloads.filter((w) => w.workloadName === "infra-backend-v1");
      const endpoints = pods.map((w) => ({ addresses: [w.address], conditions: { ready: true } }));
      return { ...resource, endpoints };
    });
    return isFilled;
  }

  async #write(): Promise<void> {
    const text = yamlOf(
      this.#applied.map((resource) =>
        resource.kind === "EndpointSlice" ? { endpoints: [], ...resource } : resource,
      ),
    );
    if (text === this.#written) return;
    this.#written = text;
    const reloaded = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, RELOAD_TIMEOUT_MS);
      this.#onReload = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    const path = join(this.#directory, "mesh.yaml");
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
    await reloaded;
  }
}

function yamlOf(resources: readonly Resource[]): string {
  return resources.map((resource) => JSON.stringify(resource)).join("\n---\n");
}

function keyOf(resource: Resource): string {
  return `${resource.kind}/${namespaceOf(resource)}/${resource.metadata.name}`;
}

function patched(resource: Resource, patches: readonly Patch[]): Resource {
  const { kind, metadata } = resource;
  const meant = patches.filter(
    ({ patch }) =>
      patch.kind === kind &&
      patch.namespace === namespaceOf(resource) &&
      patch.name === metadata.name,
  );
  const labels = Object.assign({}, metadata.labels, ...meant.map((patch) => patch.labels));
  return meant.length === 0 ? resource : { ...resource, metadata: { ...metadata, labels } };
}

/** Objects are as old as they stand in the file; some say whom they come after. */
function withCreationTimes(resources: readonly Resource[]): Resource[] {
  return resources.map((resource, index) => {
    const { metadata } = resource;
    if (metadata.creationTimestamp !== undefined) return resource;
    const isLater = metadata.annotations?.[CREATED_AFTER] !== undefined;
    const createdMs = FIRST_CREATED_MS + (isLater ? (index + 1) * 2_000 : 0);
    const creationTimestamp = new Date(createdMs).toISOString().replace(".000Z", "Z");
    return { ...resource, metadata: { ...metadata, creationTimestamp } };
  });
}

/** What a mesh implementation has to add to the manifests of the suites: enrolment, waypoints. */
function enrolled(options: RouteMeshOptions): Resource[] {
  const { waypointIn = [], enrolled: inMesh = [], isIstioCompatible = false } = options;
  const base = options.base.map((resource): Resource => {
    const { name } = resource.metadata;
    const isMeant = waypointIn.includes(name) || inMesh.includes(name);
    if (resource.kind !== "Namespace" || !isMeant) return resource;
    const labels = {
      ...resource.metadata.labels,
      "istio.io/dataplane-mode": "ambient",
      ...(waypointIn.includes(name) ? { "istio.io/use-waypoint": "waypoint" } : {}),
    };
    return { ...resource, metadata: { ...resource.metadata, labels } };
  });
  const gateways = waypointIn.map(
    (namespace): Resource => ({
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "Gateway",
      metadata: { name: "waypoint", namespace },
      spec: {
        gatewayClassName: "istio-waypoint",
        listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }],
      },
    }),
  );
  const settings: Resource = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "waystone", namespace: "istio-system" },
    data: { config: "compatibility: istio\n" },
  };
  return [...base, ...gateways, ...(isIstioCompatible ? [settings] : [])];
}

/** A pod for each client that no Deployment plays. */
function withClients(resources: readonly Resource[], cases: readonly RouteCase[]): Resource[] {
  const all = [...resources];
  for (const { from } of cases) {
    const { namespace, app } = from;
    const labels = from.labels ?? { app: app ?? "client" };
    const isThere = all.some(
      (r) => r.kind === "Deployment" && namespaceOf(r) === namespace && plays(r, labels, app),
    );
    if (isThere) continue;
    all.push({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: labels.app ?? "client", namespace },
      spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: {} } },
    });
  }
  return all;
}

/** True when the Deployment's pods have these labels. */
function plays(
  deployment: Resource,
  labels: Readonly<Record<string, string>> | undefined,
  app: string | undefined,
): boolean {
  const own = (deployment.spec?.template?.metadata?.labels ?? {}) as Record<string, string>;
  const wanted = Object.entries(labels ?? { app: app ?? "" });
  return wanted.every(([name, value]) => own[name] === value);
}

function addressOf(report: MeshReport, namespace: string, host: string): string {
  const [name, ns = namespace] = host.split(".");
  const service = report.services.find((s) => s.namespace === ns && s.name === name);
  if (service !== undefined) return service.address;
  const entry = report.services.find((s) => s.hostname === host);
  if (entry !== undefined) return entry.address;
  throw new Error(`no service is called ${host} in ${namespace}`);
}
