/**
 * The control plane under measurement, in a process of its own: the product's, built, with generated
 * objects and any token taken. It says what its parent asks for: CPU, memory, and when each client's
 * ACK of a change has come. Needs `npm run build`; run with --expose-gc.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshState } from "../../dist/agent/mesh-state.js";
import { MeshCertificateAuthority } from "../../dist/control/certificate-authority.js";
import { ControlPlane } from "../../dist/control/control-plane.js";
import { AdsServer } from "../../dist/control/serve/ads-server.js";
import { AdsStream } from "../../dist/control/serve/ads-stream.js";
import { GrpcServer } from "../../dist/control/serve/grpc-server.js";
import { MeshResources } from "../../dist/control/serve/mesh-resources.js";
import { WaypointScopes } from "../../dist/control/serve/waypoint-scopes.js";
import { setLogLevel } from "../../dist/kit/log.js";
import { MetricRegistry } from "../../dist/telemetry/metrics.js";
import { RESOURCE_TYPES } from "../../dist/wire/resource.js";
import { AckClock } from "./ack-clock.mjs";
import { ChangingMesh } from "./changing-mesh.mjs";
import { contentsHash, versionsHash } from "./contents-hash.mjs";
import { generateMesh } from "./generated-mesh.mjs";
import { answerCalls } from "./process-calls.mjs";

setLogLevel("fatal");

const HOUR_MS = 3_600_000;
const MB = 1024 * 1024;

let changing;
let control;
let source;
let ads;
const clock = new AckClock(AdsStream, RESOURCE_TYPES.revision, () => control.current.revision);

function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** After a collection; `peakMb`: of the resident set, since the start. */
function memory() {
  globalThis.gc();
  globalThis.gc();
  const { rss, heapUsed, external } = process.memoryUsage();
  const status = readFileSync("/proc/self/status", "utf8");
  const peakMb = Number(/VmHWM:\s+(\d+)/.exec(status)[1]) / 1024;
  return { rssMb: rss / MB, heapMb: heapUsed / MB, externalMb: external / MB, peakMb };
}

/** The work of the control plane for objects that are there already; what it took. */
function build({ services, podsPerService }) {
  const mesh = generateMesh({ services, podsPerService: () => podsPerService });
  const { objects } = mesh;
  changing = new ChangingMesh(mesh, { services, podsPerService });
  const startMs = cpuMs();
  const startedMs = performance.now();
  control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: objects, removed: [] });
  const graphMs = cpuMs();
  source = new MeshResources(control);
  const encodedMs = cpuMs();
  const tookMs = performance.now() - startedMs;
  let resources = 0;
  let bytes = 0;
  for (const type of Object.values(RESOURCE_TYPES)) {
    for (const name of source.resources(type).keys()) {
      resources++;
      bytes += source.resources(type).get(name).bytes.length;
    }
  }
  return {
    ...{ objects: objects.length, resources, resourcesMb: bytes / MB, tookMs },
    ...{ graphCpuMs: graphMs - startMs, encodeCpuMs: encodedMs - graphMs },
    memory: memory(),
  };
}

async function listen() {
  const directory = mkdtempSync(join(tmpdir(), "waystone-control-"));
  const trustDomain = "cluster.local";
  const authority = await MeshCertificateAuthority.open({ directory, trustDomain });
  rmSync(directory, { recursive: true });
  const issued = await authority.issueServer({ names: ["localhost"], ttlMs: 24 * HOUR_MS });
  const identity = { certPem: issued.certificatePem, keyPem: issued.keyPem };
  const authenticator = {
    authenticate: async () => ({ namespace: "test", serviceAccount: "proxy" }),
  };
  const scopes = new WaypointScopes(source);
  ads = new AdsServer({ source, scopes, authenticator, registry: new MetricRegistry() });
  const server = new GrpcServer({
    ...{ host: "127.0.0.1", port: 0, tls: () => identity },
    routes: (router) => ads.routes(router),
  });
  await server.listen();
  return { port: server.port, rootsPem: authority.rootsPem };
}

/** One change, to the last ACK. */
async function change({ kind, number }) {
  const recomputed = control.recomputedObjects;
  const batch = changing.change(kind, number);
  const startMs = cpuMs();
  const startedMs = performance.now();
  control.apply(batch);
  const applyMs = performance.now() - startedMs;
  clock.expect(startedMs);
  const ackMs = await clock.answered();
  return {
    ...{ applyMs, ackMs, cpuMs: cpuMs() - startMs },
    recomputed: control.recomputedObjects - recomputed,
  };
}

/** Changes at an even pace, whatever they take; the times to each ACK. */
async function paced({ perSecond, count, kinds, from = 0 }) {
  const startedMs = performance.now();
  const startMs = cpuMs();
  for (let i = 0; i < count; i++) {
    const dueMs = startedMs + (i * 1000) / perSecond;
    const restMs = dueMs - performance.now();
    if (restMs > 0) await new Promise((resolve) => setTimeout(resolve, restMs));
    control.apply(changing.change(kinds[i % kinds.length], from + i));
    // From when it was due: a server that falls behind does not make its own time look better.
    clock.expect(dueMs);
  }
  const tookMs = performance.now() - startedMs;
  return { ackMs: await clock.answered(), tookMs, cpuMs: cpuMs() - startMs };
}

/** What proxies hold of a control plane that has been told of the last objects only, as hashes. */
function fresh() {
  const built = new ControlPlane({ enrolment: "label" });
  built.apply({ upserted: changing.objects, removed: [] });
  const resources = new MeshResources(built);
  const state = new MeshState();
  for (const type of state.types) state.stage(type, [...resources.resources(type).values()], []);
  const problem = state.commit(resources.revision);
  if (problem !== undefined) throw new Error(problem);
  const versions = new Map(state.types.map((type) => [type, state.versions(type)]));
  return { contents: contentsHash(state.current), versions: versionsHash(versions) };
}

answerCalls({
  fresh,
  build,
  listen,
  change,
  paced,
  memory,
  cpu: cpuMs,
  /** Resolves when so many clients have said to enforce the state of now. */
  inSync: async (clients) => {
    await clock.inSync(clients);
    return cpuMs();
  },
  /** Resolves when nobody is connected any more. */
  left: async () => {
    while (ads.clients.length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  },
});
