/**
 * The benchmark's contestant: the product's own waypoint, control plane and translation, on the
 * mesh of mesh.yaml, with the certificates and the addresses of the load generator.
 *
 *     node waypoint.mjs --port 15008 --certs DIR --hbone 25008
 */
import { readFileSync } from "node:fs";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ControlPlane } from "../../dist/control/control-plane.js";
import { FileSource } from "../../dist/control/source/files.js";
import { Drain } from "../../dist/kit/drain.js";
import { makeTlsIdentity } from "../../dist/net/tls.js";
import { AccessLog } from "../../dist/telemetry/access-log.js";
import { DecisionLog } from "../../dist/telemetry/decision-log.js";
import { MetricRegistry } from "../../dist/telemetry/metrics.js";
import { Waypoint } from "../../dist/waypoint/waypoint.js";

const { values } = parseArgs({
  options: {
    port: { type: "string" },
    certs: { type: "string" },
    hbone: { type: "string" },
    log: { type: "string", default: "" },
  },
});

const read = (name) => readFileSync(`${values.certs}/${name}`, "utf8");
const identity = makeTlsIdentity({
  spiffeId: "spiffe://cluster.local/ns/default/sa/waypoint",
  certificatePem: read("waypoint.pem"),
  keyPem: read("waypoint.key"),
  rootsPem: read("ca.pem"),
});
const certificates = {
  current: () => identity,
  get: async () => identity,
  release() {},
  close() {},
};

const controlPlane = new ControlPlane({ enrolment: "label" });
const source = new FileSource([fileURLToPath(new URL("mesh.yaml", import.meta.url))]);
controlPlane.apply((await source.start()).change);
source.close();
for (const diagnostic of controlPlane.diagnostics) console.error(diagnostic);

const waypoint = new Waypoint({
  key: "default/waypoint",
  spiffeId: identity.spiffeId,
  snapshots: controlPlane,
  certificates,
  registry: new MetricRegistry(),
  accessLog: new AccessLog({ file: values.log, encoding: "JSON", format: "" }),
  decisions: new DecisionLog(),
  drain: new Drain(),
  sourceAddress: undefined,
  tunnelAddress: (host) => ({ host, port: Number(values.hbone) }),
});
net
  .createServer({ pauseOnConnect: true, noDelay: true }, (socket) => waypoint.acceptTunnel(socket))
  .listen(Number(values.port), "127.0.0.1", () => console.log("ready", process.pid));
process.on("SIGTERM", () => process.exit(0));
