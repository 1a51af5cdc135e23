/**
 * A mesh for clients that people use: a service behind a waypoint, with routes, a retry and a
 * header filter, whose one workload is played by servers of the test. Programs that cannot be told
 * which address to come from use a port of loopback that stands for the client's Pod.
 */
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import type { WorkloadReport } from "../../src/local/mesh-report.ts";
import type { Resource } from "../conformance/routes/cases.ts";
import { RouteMesh } from "../conformance/routes/route-mesh.ts";

export const HTTP = 80;
export const H2C = 8080;
export const GRPC = 9090;

const NAMESPACE = "shop";
const PORTS = [
  { name: "http", port: HTTP },
  { name: "http2", port: H2C },
  { name: "grpc", port: GRPC },
];

function workload(name: string): Resource[] {
  const labels = { app: name };
  const metadata = { name, namespace: NAMESPACE };
  const template = { metadata: { labels }, spec: {} };
  return [
    { apiVersion: "v1", kind: "Service", metadata, spec: { selector: labels, ports: PORTS } },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: { selector: { matchLabels: labels }, template },
    },
  ];
}

function route(kind: "HTTPRoute" | "GRPCRoute", port: number): Resource {
  const headers = { set: [{ name: "x-routed", value: kind }] };
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind,
    metadata: { name: `server-${port}`, namespace: NAMESPACE },
    spec: {
      parentRefs: [{ group: "", kind: "Service", name: "server", port }],
      rules: [
        {
          filters: [{ type: "RequestHeaderModifier", requestHeaderModifier: headers }],
          backendRefs: [{ name: "server", port }],
        },
      ],
    },
  };
}

const RESOURCES: Resource[] = [
  { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } },
  ...workload("client"),
  ...workload("server"),
  route("HTTPRoute", HTTP),
  route("HTTPRoute", H2C),
  route("GRPCRoute", GRPC),
];

export class ClientMesh {
  readonly #mesh: RouteMesh;
  readonly #client: WorkloadReport;
  readonly #doors: net.Server[] = [];
  readonly #sockets = new Set<net.Socket>();

  /** `servers`: where the service's ports really are, on loopback. */
  static async start(servers: Readonly<Record<number, number>>): Promise<ClientMesh> {
    const overrides = Object.entries(servers).map(([workloadPort, port]) => ({
      ...{ workload: `${NAMESPACE}/server`, workloadPort: Number(workloadPort) },
      ...{ host: "127.0.0.1", port },
    }));
    const mesh = await RouteMesh.start({ base: RESOURCES, waypointIn: [NAMESPACE], overrides });
    const client = mesh.report().workloads.find((pod) => pod.workloadName === "client")!;
    return new ClientMesh(mesh, client);
  }

  private constructor(mesh: RouteMesh, client: WorkloadReport) {
    this.#mesh = mesh;
    this.#client = client;
  }

  /** A port of loopback through which the service's is reached, as the client's Pod. */
  async door(port: number): Promise<number> {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      void this.#mesh.dial(this.#client, "server", port).then((dialed) => {
        dialed.on("error", () => socket.destroy());
        dialed.on("close", () => socket.destroy());
        socket.on("close", () => dialed.destroy());
        socket.pipe(dialed).pipe(socket);
      });
    });
    this.#doors.push(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    for (const door of this.#doors) door.close();
    for (const socket of this.#sockets) socket.destroy();
    await this.#mesh.stop();
  }
}
