/**
 * The process under attack: a waypoint and a ztunnel of the product, built, with the mesh of
 * mesh.yaml. It tells its parent its ports, and when asked its memory (after a collection), its CPU
 * time and its metrics. Nothing of the attack runs here, so the figures are its own.
 *
 *     node --expose-gc host.mjs STATE-DIRECTORY '{"127.0.0.2": PORT, …}' APP-PORT
 */
import net from "node:net";
import { fileURLToPath } from "node:url";
import { Certificates } from "../../dist/agent/certificates.js";
import { MeshCertificateAuthority } from "../../dist/control/certificate-authority.js";
import { ControlPlane } from "../../dist/control/control-plane.js";
import { FileSource } from "../../dist/control/source/files.js";
import { Drain } from "../../dist/kit/drain.js";
import { log } from "../../dist/kit/log.js";
import { AccessLog } from "../../dist/telemetry/access-log.js";
import { DecisionLog } from "../../dist/telemetry/decision-log.js";
import { MetricRegistry } from "../../dist/telemetry/metrics.js";
import { Waypoint } from "../../dist/waypoint/waypoint.js";
import { Ztunnel } from "../../dist/ztunnel/ztunnel.js";

const [directory, tunnelPorts, appPort] = process.argv.slice(2);
const ports = JSON.parse(tunnelPorts);
const spiffe = (account) => `spiffe://cluster.local/ns/default/sa/${account}`;
const tunnelAddress = (address) => ({ host: "127.0.0.1", port: ports[address] ?? 1 });

const snapshots = new ControlPlane({ enrolment: "label" });
const source = new FileSource([fileURLToPath(new URL("mesh.yaml", import.meta.url))]);
snapshots.apply((await source.start()).change);
source.close();
for (const diagnostic of snapshots.diagnostics) console.error(diagnostic);

const authority = await MeshCertificateAuthority.open({ directory, trustDomain: "cluster.local" });
const certificates = new Certificates(authority, { ttlMs: 86_400_000, log: log("certificates") });
for (const account of ["waypoint", "calm", "client"]) await certificates.get(spiffe(account));

const registry = new MetricRegistry();
const accessLog = new AccessLog({ file: "/dev/stdout", encoding: "TEXT", format: "" });
const decisions = new DecisionLog();
const drain = new Drain();
const shared = { snapshots, certificates, registry, decisions, drain };
const waypoint = new Waypoint({
  ...shared,
  key: "default/waypoint",
  spiffeId: spiffe("waypoint"),
  accessLog,
  sourceAddress: undefined,
  tunnelAddress,
});
const ztunnel = new Ztunnel({
  ...shared,
  tunnelAddress,
  dialFrom: () => undefined,
  appAddress: () => ({ host: "127.0.0.1", port: Number(appPort), localAddress: undefined }),
});

function listen(accept) {
  const options = { pauseOnConnect: false, noDelay: true, allowHalfOpen: true };
  const server = net.createServer(options, (socket) => {
    socket.on("error", () => {});
    accept(socket);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
}

/** A client's connections to a service's address. */
function captured(address, port) {
  return listen((socket) => ztunnel.acceptCaptured(socket, { address, port }));
}

const listening = {
  waypoint: await listen((socket) => waypoint.acceptTunnel(socket)),
  inbound: await listen((socket) => ztunnel.acceptTunnel(socket, "Kubernetes//Pod/default/calm-0")),
  outbound: await captured("127.10.0.3", 9000),
  http1: await captured("127.10.0.1", 80),
  http2: await captured("127.10.0.1", 81),
  tcp: await captured("127.10.0.1", 9000),
};

process.on("message", async (question) => {
  for (let i = 0; i < 2; i++) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await accessLog.flush();
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const answer = {
    question,
    heldBytes: heapUsed + external,
    arrayBuffers,
    rss,
    cpuMs: (user + system) / 1000,
    metrics: registry.expose(),
  };
  process.send(answer);
});
process.on("disconnect", () => process.exit(0));
process.send({ listening });
