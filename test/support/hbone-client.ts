/**
 * A ztunnel's way to a waypoint: mutual TLS 1.3 without a server name, HTTP/2, CONNECT for an
 * address with the headers that ztunnel adds (protocols.md §3.2), and HTTP/1.1 in the tunnel. On
 * Node's own HTTP/2, so that it can judge ours.
 */
import { X509Certificate } from "node:crypto";
import http2, { type ClientHttp2Session } from "node:http2";
import tls from "node:tls";
import type { TlsIdentity } from "../../src/net/tls.ts";

export interface HboneTarget {
  readonly host: string;
  readonly port?: number;
  /** SPIFFE id that the waypoint must have. */
  readonly expected: string;
}

const CONNECT_TIMEOUT_MS = 5_000;

export class HboneClient {
  readonly #session: ClientHttp2Session;
  /** The waypoint's certificate. */
  readonly certificate: X509Certificate;

  private constructor(session: ClientHttp2Session, certificate: X509Certificate) {
    this.#session = session;
    this.certificate = certificate;
  }

  static async connect(identity: TlsIdentity, target: HboneTarget): Promise<HboneClient> {
    const { host, port = 15008, expected } = target;
    const socket = tls.connect({
      ...{ host, port, servername: "" },
      cert: identity.certificatePem,
      key: identity.keyPem,
      ca: identity.rootsPem,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["h2"],
      checkServerIdentity: (_name, { subjectaltname = "" }) =>
        subjectaltname === `URI:${expected}` ? undefined : new Error(`it is ${subjectaltname}`),
    });
    await new Promise<void>((resolve, reject) => {
      const giveUp = () => socket.destroy(new Error("no TLS in time"));
      const timer = setTimeout(giveUp, CONNECT_TIMEOUT_MS);
      socket.once("secureConnect", resolve);
      socket.once("error", reject);
      socket.once("close", () => {
        clearTimeout(timer);
        reject(new Error("closed"));
      });
    });
    const certificate = new X509Certificate(socket.getPeerCertificate().raw);
    const session = http2.connect("https://waypoint", { createConnection: () => socket });
    session.on("error", () => {});
    return new HboneClient(session, certificate);
  }

  /** What comes back for a request in a tunnel of its own; `CONNECT <status>` when there is none. */
  ask(authority: string, path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ":method": "CONNECT",
        ":authority": authority,
        baggage: "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.pod.name=client",
        forwarded: 'for="10.244.0.9:40000";host=server.shop.svc.cluster.local',
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
      });
      let text = "";
      stream.setEncoding("utf8");
      stream.on("response", ({ ":status": status }) => {
        if (status !== 200) resolve(`CONNECT ${status}`);
        stream.write(`GET ${path} HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n`);
      });
      stream.on("data", (chunk: string) => {
        text += chunk;
      });
      stream.on("end", () => stream.end());
      stream.once("error", reject);
      stream.once("close", () => resolve(text));
    });
  }

  get isOpen(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  close(): void {
    this.#session.destroy();
  }
}

/** One request on a connection of its own. */
export async function askThrough(
  identity: TlsIdentity,
  target: HboneTarget,
  authority: string,
  path: string,
): Promise<string> {
  const client = await HboneClient.connect(identity, target);
  try {
    return await client.ask(authority, path);
  } finally {
    client.close();
  }
}
