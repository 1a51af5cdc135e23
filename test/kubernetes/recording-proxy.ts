/**
 * Stands in front of an API server, over plain HTTP on loopback, and writes down what it forbids:
 * the server itself counts that nowhere.
 */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export class RecordingProxy {
  /** `GET /api/v1/secrets` */
  readonly forbidden: string[] = [];
  readonly #http: Server;

  static async start(server: string, rootPem: string): Promise<RecordingProxy> {
    const proxy = new RecordingProxy(server, rootPem);
    proxy.#http.listen(0, "127.0.0.1");
    await once(proxy.#http, "listening");
    return proxy;
  }

  private constructor(server: string, ca: string) {
    this.#http = createServer((incoming, outgoing) => {
      const { method = "GET", url = "/", headers } = incoming;
      const onward = request(`${server}${url}`, { ca, method, headers }, (answer) => {
        if (answer.statusCode === 403) this.forbidden.push(`${method} ${url}`);
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        // The head of a watch is news by itself.
        outgoing.flushHeaders();
        answer.on("error", () => outgoing.destroy());
        answer.pipe(outgoing);
      });
      onward.on("error", () => outgoing.destroy());
      outgoing.on("close", () => onward.destroy());
      incoming.pipe(onward);
    });
  }

  /** The path of a kubeconfig that leads here, for who holds the token. */
  kubeconfig(folder: string, token: string): string {
    const { port } = this.#http.address() as AddressInfo;
    const cluster = { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true };
    const path = join(folder, `proxy-${port}.kubeconfig`);
    const config = {
      clusters: [{ name: "proxy", cluster }],
      users: [{ name: "holder", user: { token } }],
      contexts: [{ name: "proxy", context: { cluster: "proxy", user: "holder" } }],
      "current-context": "proxy",
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
    return path;
  }

  async close(): Promise<void> {
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, "close");
  }
}
