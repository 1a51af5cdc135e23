/**
 * The benchmark's contestant: the product's own waypoint, control plane and translation, on the
 * mesh of mesh.yaml, with the certificates and the addresses of the load generator.
 *
 *     node waypoint.mjs --port 15008 --certs DIR --hbone 25008 [--routes N] [--endpoints N]
 *         [--policies N] [--jwks FILE]
 */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
import { authentication, otherPolicies } from "./many-policies.mjs";
import { otherEndpoints, otherRoutes } from "./many-routes.mjs";

const { values } = parseArgs({
  options: {
    port: { type: "string" },
    certs: { type: "string" },
    hbone: { type: "string" },
    log: { type: "string", default: "" },
    // On the service, and behind it; the mesh has one route and two endpoints.
    routes: { type: "string", default: "1" },
    endpoints: { type: "string", default: "2" },
    // That match none of the requests.
    policies: { type: "string", default: "0" },
    // Of the issuer of the requests' tokens.
    jwks: { type: "string", default: "" },
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
const paths = [fileURLToPath(new URL("mesh.yaml", import.meta.url))];
const more = [
  otherRoutes(Number(values.routes) - 1),
  otherEndpoints(Number(values.endpoints) - 2),
  otherPolicies(Number(values.policies)),
  values.jwks === "" ? "" : authentication(readFileSync(values.jwks, "utf8")),
].filter((text) => text !== "");
if (more.length > 0) {
  const file = join(mkdtempSync(join(tmpdir(), "waystone-bench-")), "more.yaml");
  writeFileSync(file, more.join("\n---\n"));
  paths.push(file);
}
const source = new FileSource(paths);
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
