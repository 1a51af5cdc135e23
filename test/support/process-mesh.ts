/**
 * Manifests of a mesh of processes on one machine: every address is this machine's (127.…), so a
 * client's ztunnel, waypoints and a server's ztunnel are real processes with real ports.
 *
 *     client (node-1) ── echo:80 ──> waypoint wp (two Pods) ──> echo (node-2), port 8080
 */
import { createServer, type Server } from "node:http";

export interface MeshAddresses {
  readonly client: string;
  readonly echo: string;
  readonly waypoints: readonly [string, string];
  readonly echoService: string;
  readonly waypointService: string;
  readonly controlPlane: string;
}

/** Addresses that other tests of this run and of others do not have. */
export function meshAddresses(): MeshAddresses {
  const group = `127.${100 + Math.floor(Math.random() * 100)}.${Math.floor(Math.random() * 255)}`;
  return {
    client: `${group}.1`,
    echo: `${group}.2`,
    waypoints: [`${group}.3`, `${group}.4`],
    echoService: `${group}.11`,
    waypointService: `${group}.12`,
    controlPlane: `${group}.21`,
  };
}

export const MANAGED = "gateway.istio.io/managed: istio.io-mesh-controller";

function pod(
  name: string,
  ip: string,
  node: string,
  account: string,
  labels: Record<string, string>,
  isReady = true,
): string {
  const lines = Object.entries(labels).map(([key, value]) => `    ${key}: ${value}`);
  return `apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: shop
  labels:
${lines.join("\n")}
spec:
  nodeName: ${node}
  serviceAccountName: ${account}
  containers: [{ name: main, image: none, ports: [{ containerPort: 8080 }] }]
status:
  phase: Running
  podIP: ${ip}
  conditions: [{ type: Ready, status: "${isReady ? "True" : "False"}" }]
`;
}

function service(name: string, ip: string, lines: string): string {
  return `apiVersion: v1
kind: Service
metadata:
  name: ${name}
  namespace: shop
  labels:
    ${name === "wp" ? MANAGED : "istio.io/use-waypoint: wp"}
spec:
  clusterIP: ${ip}
${lines}`;
}

/** The whole mesh; a waypoint that is not ready is on its way out. */
export function manifests(at: MeshAddresses, waypointsReady: readonly boolean[] = []): string {
  const waypoint = (index: 0 | 1) =>
    pod(
      `wp-${index}`,
      at.waypoints[index],
      "node-1",
      "wp",
      {
        "gateway.networking.k8s.io/gateway-name": "wp",
        "istio.io/dataplane-mode": "none",
      },
      waypointsReady[index] ?? true,
    );
  return [
    `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
`,
    pod("client", at.client, "node-1", "client", { app: "client" }),
    pod("echo", at.echo, "node-2", "echo", { app: "echo" }),
    waypoint(0),
    waypoint(1),
    service(
      "echo",
      at.echoService,
      `  selector: { app: echo }
  ports: [{ name: http, port: 80, targetPort: 8080, appProtocol: http }]
`,
    ),
    service(
      "wp",
      at.waypointService,
      `  selector: { gateway.networking.k8s.io/gateway-name: wp }
  ports: [{ name: mesh, port: 15008, appProtocol: hbone }]
`,
    ),
    `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
status:
  addresses: [{ type: IPAddress, value: ${at.waypointService} }]
`,
  ].join("---\n");
}

/** Refuses a path at the waypoint. */
export function denyPath(path: string): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: echo }]
  action: DENY
  rules: [{ to: [{ operation: { paths: ["${path}"] } }] }]
`;
}

/** The application: tells who reached it. */
export async function startEcho(at: MeshAddresses, port = 8080): Promise<Server> {
  const server = createServer((request, response) => {
    const { remoteAddress } = request.socket;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ path: request.url, remoteAddress }));
  });
  await new Promise<void>((resolve) => server.listen(port, at.echo, resolve));
  return server;
}
