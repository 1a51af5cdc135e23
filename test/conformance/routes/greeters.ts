/**
 * Workloads that speak first, plainly or inside TLS: a line of JSON that says who they are, as soon
 * as someone has connected.
 */
import net from "node:net";
import tls from "node:tls";
import type { WorkloadOverride } from "../../../src/local/echoes.ts";
import { TestMesh } from "../../support/identities.ts";
import { namespaceOf, type Resource } from "./cases.ts";

export class Greeters {
  readonly #servers: net.Server[] = [];
  readonly #sockets = new Set<net.Socket>();
  readonly #secrets: { readonly key: string; readonly cert: string } | undefined;

  private constructor(secrets: { readonly key: string; readonly cert: string } | undefined) {
    this.#secrets = secrets;
  }

  static plain(): Greeters {
    return new Greeters(undefined);
  }

  static async withTls(): Promise<Greeters> {
    const { keyPem, certificatePem } = await (await TestMesh.make()).identity("greeter");
    return new Greeters({ key: keyPem, cert: certificatePem });
  }

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
        // As a pod would be called: the owner's name, and two parts behind it.
        const pod = `${name}-greets-0`;
        const port = await this.#listen({ workload: pod, namespace, port: workloadPort });
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
    const greet = (socket: net.Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy());
      socket.write(greeting);
      socket.resume();
    };
    const server = this.#secrets ? tls.createServer(this.#secrets, greet) : net.createServer(greet);
    server.on("tlsClientError", () => {});
    this.#servers.push(server);
    return new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port));
    });
  }
}
