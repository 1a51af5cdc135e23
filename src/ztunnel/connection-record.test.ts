import pino from "pino";
import { expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { TcpMetrics } from "../telemetry/istio-metrics.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { ConnectionRecord } from "./connection-record.ts";
import type { ZtunnelContext } from "./context.ts";

/** A record of a connection from `client` to `reviews`, and the lines that it writes. */
function recorded(error: string | undefined) {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => lines.push(JSON.parse(line));
  const context: Pick<ZtunnelContext, "tcp" | "accessLog"> = {
    tcp: new TcpMetrics(new MetricRegistry()),
    accessLog: pino({ level: "debug", base: null, timestamp: false }, { write }),
  };
  const mesh = smallMesh();
  const named = (name: string) => [...mesh.workloads.values()].find((w) => w.name === name)!;
  const record = new ConnectionRecord(context as ZtunnelContext, {
    direction: "outbound",
    source: named("client"),
    sourceAddress: "127.70.0.2:40000",
    sourceIdentity: "spiffe://cluster.local/ns/default/sa/client",
    destination: named("reviews-v1"),
    destinationAddress: "127.80.0.1:80",
    service: [...mesh.services.values()][0],
    hboneAddress: "127.70.0.1:15008",
  });
  record.opened();
  record.closed(100, 20, error);
  return lines;
}

test("a connection's lines have ztunnel's names, and an error makes the line one of level error", () => {
  const about = {
    "src.addr": "127.70.0.2:40000",
    "src.workload": "client",
    "src.namespace": "default",
    "src.identity": "spiffe://cluster.local/ns/default/sa/client",
    "src.cluster": "Kubernetes",
    "dst.addr": "127.80.0.1:80",
    "dst.hbone_addr": "127.70.0.1:15008",
    "dst.service": "reviews.default.svc.cluster.local",
    "dst.workload": "reviews-v1",
    "dst.namespace": "default",
    "dst.identity": "spiffe://cluster.local/ns/default/sa/reviews-v1",
    "dst.cluster": "Kubernetes",
    direction: "outbound",
  };
  const [opened, closed] = recorded(undefined);
  expect(opened).toEqual({ level: 20, ...about, msg: "connection opened" });
  expect(closed).toEqual({
    level: 30,
    ...about,
    bytes_sent: 100,
    bytes_recv: 20,
    duration: expect.stringMatching(/^\d+ms$/),
    msg: "connection complete",
  });
  expect(recorded("the peer went away")[1]).toMatchObject({
    level: 50,
    error: "the peer went away",
    msg: "connection complete",
  });
});
