/** Golden lines of a connection, as Istio's ztunnel writes them. */
import { expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { LogLimit } from "../kit/log-limit.ts";
import { EventLog } from "../telemetry/event-log.ts";
import { TcpMetrics } from "../telemetry/istio-metrics.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { type ConnectionParties, ConnectionRecord, errorOf } from "./connection-record.ts";
import type { ZtunnelContext } from "./context.ts";

const mesh = smallMesh();
const named = (name: string) => [...mesh.workloads.values()].find((w) => w.name === name)!;

const OUTBOUND: ConnectionParties = {
  direction: "outbound",
  source: named("client"),
  sourceAddress: "127.70.0.2:40000",
  sourceIdentity: "spiffe://cluster.local/ns/default/sa/client",
  destination: named("reviews-v1"),
  destinationAddress: "127.70.0.1:15008",
  service: [...mesh.services.values()][0],
  hboneAddress: "127.80.0.1:80",
};

const INBOUND: ConnectionParties = {
  ...OUTBOUND,
  direction: "inbound",
  hboneAddress: "127.70.0.1:8080",
};

const STRANGER: ConnectionParties = {
  direction: "inbound",
  source: undefined,
  sourceAddress: "[fd00::9]:40000",
  sourceIdentity: undefined,
  destination: named("reviews-v1"),
  destinationAddress: "127.70.0.1:8080",
  service: undefined,
  hboneAddress: undefined,
};

/** The lines that it writes; times are taken out. */
function lines(
  parties: ConnectionParties,
  act: (record: ConnectionRecord) => void,
  encoding: "TEXT" | "JSON" = "TEXT",
): string[] {
  const written: string[] = [];
  const write = (line: string) => void written.push(line);
  const accessLog = new EventLog({
    scope: "access",
    encoding: () => encoding,
    write,
    isLogged: () => true,
  });
  const tcp = new TcpMetrics(new MetricRegistry());
  const logLimit = new LogLimit({ onLeftOut: () => {} });
  const context: Pick<ZtunnelContext, "tcp" | "accessLog" | "logLimit"> = {
    tcp,
    accessLog,
    logLimit,
  };
  act(new ConnectionRecord(context as ZtunnelContext, parties));
  return written.map((line) =>
    line.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/, "TIME").replace(/"\d+ms"/, '"1ms"'),
  );
}

const ABOUT_OUTBOUND =
  'src.addr=127.70.0.2:40000 src.workload="client" src.namespace="default" ' +
  'src.identity="spiffe://cluster.local/ns/default/sa/client" src.cluster="Kubernetes" ' +
  "dst.addr=127.70.0.1:15008 dst.hbone_addr=127.80.0.1:80 " +
  'dst.service="reviews.default.svc.cluster.local" dst.workload="reviews-v1" ' +
  'dst.namespace="default" dst.identity="spiffe://cluster.local/ns/default/sa/reviews-v1" ' +
  'dst.cluster="Kubernetes" direction="outbound"';

const complete = (error?: string) => (record: ConnectionRecord) => {
  record.opened();
  record.closed(100, 20, error);
};

test("a connection is told when it opens, at debug, and when it is complete", () => {
  expect(lines(OUTBOUND, complete())).toEqual([
    `TIME\tdebug\taccess\tconnection opened\t${ABOUT_OUTBOUND}\n`,
    // What the workload sent are the client's bytes, at the source.
    `TIME\tinfo\taccess\tconnection complete\t${ABOUT_OUTBOUND} bytes_sent=20 bytes_recv=100 duration="1ms"\n`,
  ]);
});

test("at the destination the workload sent what the client received", () => {
  const [, line] = lines(INBOUND, complete());
  expect(line).toContain("dst.addr=127.70.0.1:15008 dst.hbone_addr=127.70.0.1:8080 ");
  expect(line).toContain('direction="inbound" bytes_sent=100 bytes_recv=20 duration="1ms"\n');
});

test("one that ended badly is of level error, and says why at its end", () => {
  expect(lines(OUTBOUND, complete("the peer went away"))[1]).toBe(
    `TIME\terror\taccess\tconnection complete\t${ABOUT_OUTBOUND} bytes_sent=20 bytes_recv=100 duration="1ms" error="the peer went away"\n`,
  );
});

test("a peer that resets ends a connection like any other; what broke it is an error", () => {
  const reset = (by: "peer" | "connection", detail: string) =>
    errorOf({ by, detail, isRefused: false });
  expect(errorOf(undefined)).toBeUndefined();
  expect(reset("peer", "RST_STREAM CANCEL")).toBeUndefined();
  expect(reset("peer", "ECONNRESET")).toBeUndefined();
  expect(reset("peer", "RST_STREAM INTERNAL_ERROR")).toBe("RST_STREAM INTERNAL_ERROR");
  expect(reset("connection", "ECONNRESET")).toBe("ECONNRESET");
});

test("one that is denied is complete without a byte; in plain text nobody has an identity", () => {
  const why = "connection closed due to policy rejection: allow policies exist, but none allowed";
  expect(lines(STRANGER, (record) => record.failed("DENY", why))).toEqual([
    'TIME\terror\taccess\tconnection complete\tsrc.addr=[fd00::9]:40000 dst.addr=127.70.0.1:8080 dst.workload="reviews-v1" ' +
      'dst.namespace="default" dst.cluster="Kubernetes" direction="inbound" bytes_sent=0 bytes_recv=0 duration="1ms" ' +
      `error="${why}"\n`,
  ]);
});

test("one that is turned away at once has a short line, five in a second", () => {
  const written = lines(OUTBOUND, (record) => {
    for (let i = 0; i < 9; i++) record.turnedAway("no way", "service reviews has no port 81");
  });
  expect(written).toHaveLength(5);
  expect(written[0]).toBe(
    "TIME\twarn\taccess\tconnection failed\tsrc.addr=127.70.0.2:40000 dst.addr=127.70.0.1:15008 " +
      'direction="outbound" error="service reviews has no port 81"\n',
  );
});

test("in JSON the fields have the same order", () => {
  const [opened, closed] = lines(OUTBOUND, complete('"no"\n'), "JSON");
  expect(opened).toMatch(
    /^\{"level":"debug","time":"TIME","scope":"access","message":"connection opened","src\.addr":"127/,
  );
  expect(closed).toMatch(/\}\n$/);
  expect(Object.entries(JSON.parse(closed!))).toEqual(
    Object.entries({
      level: "error",
      time: "TIME",
      scope: "access",
      message: "connection complete",
      "src.addr": "127.70.0.2:40000",
      "src.workload": "client",
      "src.namespace": "default",
      "src.identity": "spiffe://cluster.local/ns/default/sa/client",
      "src.cluster": "Kubernetes",
      "dst.addr": "127.70.0.1:15008",
      "dst.hbone_addr": "127.80.0.1:80",
      "dst.service": "reviews.default.svc.cluster.local",
      "dst.workload": "reviews-v1",
      "dst.namespace": "default",
      "dst.identity": "spiffe://cluster.local/ns/default/sa/reviews-v1",
      "dst.cluster": "Kubernetes",
      direction: "outbound",
      bytes_sent: 20,
      bytes_recv: 100,
      duration: "1ms",
      error: '"no"\n',
    }),
  );
});

test.each(["TEXT", "JSON"] as const)(
  "no value ends a line or steers a terminal: %s",
  (encoding) => {
    const evil = 'a"b\\c\nd\te\u001b[31m\u202e\u0085 x=1';
    const parties = { ...OUTBOUND, hboneAddress: evil };
    const [line] = lines(parties, (record) => record.failed("CONNECT", evil), encoding);
    expect(line!.slice(0, -1)).not.toMatch(/[\n\u001b\u202e\u0085]/);
    if (encoding === "JSON") expect(JSON.parse(line!)).toMatchObject({ error: evil });
    else {
      expect(line).toContain('error="a\\"b\\\\c\\nd\\te\\x1b[31m\\u202e\\x85 x=1"\n');
      expect(line).toContain(
        "dst.hbone_addr=a\\x22b\\\\c\\nd\\te\\x1b[31m\\u202e\\x85\\x20x=1 dst.service",
      );
    }
  },
);
