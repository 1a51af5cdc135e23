/** A client of a waypoint as ztunnel is one, on node:http2 alone. */
import http2 from "node:http2";
import tls from "node:tls";
import type { TlsIdentity } from "../../src/net/tls.ts";

/** What comes back for a request in a tunnel as ztunnel opens it. */
export function askThrough(
  { certificatePem, keyPem, rootsPem }: TlsIdentity,
  host: string,
  authority: string,
  path: string,
  /** SPIFFE id. */
  waypoint: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      host,
      port: 15008,
      cert: certificatePem,
      key: keyPem,
      ca: rootsPem,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["h2"],
      checkServerIdentity: (_name, { subjectaltname = "" }) =>
        subjectaltname === `URI:${waypoint}` ? undefined : new Error(`it is ${subjectaltname}`),
    });
    const session = http2.connect("https://waypoint", { createConnection: () => socket });
    session.once("error", reject);
    const stream = session.request({
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
    stream.once("close", () => {
      session.close();
      resolve(text);
    });
  });
}
