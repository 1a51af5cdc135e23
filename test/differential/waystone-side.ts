/**
 * A real waypoint as a plain port of loopback: whoever connects is put into a tunnel to its one
 * service, as a client's ztunnel would do it; behind it a fake ztunnel leads to the backends. The
 * routes are those of the whole waypoint, so that host names choose among them.
 */
import { once } from "node:events";
import net from "node:net";
import type { RequestAuthentication } from "../../src/model/request-authentication.ts";
import type { AttachedRoute } from "../../src/model/route.ts";
import type { AppProtocol, Endpoint, Service } from "../../src/model/service.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import type { Workload } from "../../src/model/workload.ts";
import { Relay } from "../../src/net/relay.ts";
import { TcpStream } from "../../src/net/tcp-stream.ts";
import { RealMesh } from "../support/real-waypoint.ts";
import { indexOf, makeWorkload, smallMesh } from "../support/small-mesh.ts";
import { REVIEWS } from "../support/waypoint-session.ts";

export interface WaystoneSide {
  readonly port: number;
  end(): void;
}

export function backendService(name: string): string {
  return `default/${name}.default.svc.cluster.local`;
}

export async function startWaystone(
  routes: readonly AttachedRoute[],
  backendPorts: ReadonlyMap<string, number>,
  authentications: readonly RequestAuthentication[] = [],
): Promise<WaystoneSide> {
  const names = [...backendPorts.keys()];
  const addressOf = (index: number) => `127.71.0.${index + 1}`;
  const byAddress = new Map(names.map((name, i) => [addressOf(i), backendPorts.get(name)!]));
  const snapshot = {
    ...meshOf(names, addressOf, routes),
    authentications: indexOf({ "Gateway/default/wp": authentications }),
  };
  const mesh = await RealMesh.start(snapshot, (stream, authority) => {
    const socket = net.connect({
      port: byAddress.get(authority.split(":")[0]!)!,
      host: "127.0.0.1",
    });
    socket.on("error", () => {});
    new Relay(stream, new TcpStream(socket), { onRelayEnd: () => {} });
  });
  const { port } = await mesh.waypoint();
  const listener = await enter(mesh, port);
  const end = () => {
    listener.close();
    mesh.end();
  };
  return { port: (listener.address() as net.AddressInfo).port, end };
}

async function enter(mesh: RealMesh, waypointPort: number): Promise<net.Server> {
  const listener = net.createServer({ pauseOnConnect: true }, (socket) => {
    socket.on("error", () => {});
    mesh.connect(waypointPort).then(
      (stream) => {
        new Relay(new TcpStream(socket), stream, { onRelayEnd: () => {} });
        socket.resume();
      },
      () => socket.destroy(),
    );
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  return listener;
}

function meshOf(
  names: readonly string[],
  addressOf: (index: number) => string,
  routes: readonly AttachedRoute[],
): Snapshot {
  const base = smallMesh();
  const front = base.services.get(REVIEWS)!;
  const portsOf = (protocol: AppProtocol) => [{ port: 80, targetPort: 80, name: "", protocol }];
  const services: Record<string, Service> = {
    [REVIEWS]: { ...front, ports: portsOf("UNKNOWN") },
  };
  const workloads: Workload[] = [...base.workloads.values()];
  const endpoints: Record<string, readonly Endpoint[]> = {};
  names.forEach((name, index) => {
    const key = backendService(name);
    const address = addressOf(index);
    const ports = new Map([[80, 8080]]);
    const pod = makeWorkload(name, address, {
      services: new Map([[key, ports]]),
      // Whom the fake ztunnel proves itself to be.
      serviceAccount: "reviews-0",
    });
    services[key] = {
      ...front,
      key,
      name,
      hostname: `${name}.default.svc.cluster.local`,
      addresses: [],
      waypoint: undefined,
      ports: portsOf(name.startsWith("g") ? "GRPC" : "HTTP11"),
    };
    workloads.push(pod);
    endpoints[key] = [{ workloadUid: pod.uid, address, ports, isHealthy: true }];
  });
  return {
    ...base,
    services: indexOf(services),
    workloads: indexOf(Object.fromEntries(workloads.map((pod) => [pod.uid, pod]))),
    endpoints: indexOf(endpoints),
    routes: indexOf({ "Gateway/default/wp": routes }),
  };
}
