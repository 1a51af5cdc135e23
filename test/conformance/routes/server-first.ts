/**
 * Workloads that speak first: a line of JSON that says who it is, as soon as someone connects.
 */
import net from "node:net";
import type { WorkloadOverride } from "../../../src/local/echoes.ts";
import { namespaceOf, type Resource } from "./cases.ts";

export class ServersFirst {
  readonly #servers: net.Server[] = [];
  readonly #sockets = new Set<net.Socket>();

  /** One for each of the ports of every Deployment. */
  async start(
    resources: readonly Resource[],
    ports: readonly number[],
  ): Promise<readonly WorkloadOverride[]> {
    const overrides: WorkloadOverride[] = [];
    for (const resource of resources.filter((r) => r.kind === "Deployment")) {
      const { name } = resource.metadata;
      const namespace = namespaceOf(resource);
      for (const workloadPort of ports) {
        const port = await this.#listen({ workload: name, namespace, port: workloadPort });
        const workload = `${namespace}/${name}`;
        overrides.push({ workload, workloadPort, host: "127.0.0.1", port });
      }
    }
    return overrides;
  }

  stop(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #listen(identity: object): Promise<number> {
    const greeting = `${JSON.stringify(identity)}\n`;
    const server = net.createServer((socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      socket.write(greeting);
      socket.resume();
    });
    this.#servers.push(server);
    return new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port));
    });
  }
}
