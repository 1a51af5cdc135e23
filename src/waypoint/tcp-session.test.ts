import { afterEach, expect, test } from "vitest";
import { MemoryPeer, MemoryStream, settle } from "../../test/support/memory-stream.ts";
import { indexOf } from "../../test/support/small-mesh.ts";
import {
  denyingAll,
  FakeWaypoint,
  meshWith,
  REVIEWS_HOST,
} from "../../test/support/waypoint-session.ts";
import type { ConnectionRoute } from "../model/route.ts";
import type { AccessLog, AccessRecord } from "../telemetry/access-log.ts";
import { TcpSession } from "./tcp-session.ts";

let waypoint = new FakeWaypoint();

afterEach(async () => {
  await settle();
  expect(waypoint.active).toBe(0);
});

function open(snapshot = meshWith(1)) {
  waypoint = new FakeWaypoint(snapshot);
  const [stream, remote] = MemoryStream.pair({ windowBytes: 32 * 1024 });
  const answers: (number | "accepted")[] = [];
  const answer = {
    accept: () => answers.push("accepted"),
    refuse: (status: number) => {
      answers.push(status);
      stream.reset("cancel");
    },
  };
  const { connection, context } = waypoint;
  const session = new TcpSession(stream, connection, context, waypoint.target(9000), answer);
  return { session, stream, client: new MemoryPeer(remote), answers, backends: waypoint.backends };
}

test("what comes before the backend is there is kept, the end too", async () => {
  const { session, client, stream, answers, backends } = open();
  client.send("early ");
  await settle();
  session.start(Buffer.from(""));
  client.send("and more");
  client.stream.end();
  await settle(30);
  expect(answers).toEqual(["accepted"]);
  expect(backends.last.text.endsWith("and more")).toBe(true);
  expect(backends.last.isEnded).toBe(true);
  backends.last.send("reply");
  backends.last.stream.end();
  await settle();
  expect(client.text).toBe("reply");
  expect(client.isClosed && backends.last.isClosed && stream.isClosed).toBe(true);
  expect(client.reset ?? backends.last.reset).toBeUndefined();
  expect(waypoint.metrics()).toMatch(/istio_tcp_sent_bytes_total\{.*\} 5\n/);
});

test("large transfers go through, both ways, all credited", async () => {
  const { session, client, stream, backends } = open();
  session.start();
  await settle();
  const bytes = Buffer.alloc(1 << 20, "x");
  client.send(bytes);
  backends.last.send(bytes);
  await settle(300);
  expect(client.receivedBytes).toBe(bytes.length);
  expect(backends.last.receivedBytes).toBe(bytes.length);
  expect(stream.heldBytes).toBe(0);
  expect(backends.streams[0]!.heldBytes).toBe(0);
  client.stream.end();
  backends.last.stream.end();
});

test("a client that may not is refused before anything is dialed", async () => {
  const { session, answers, backends } = open(denyingAll(meshWith(1)));
  session.start();
  await settle();
  expect(answers).toEqual([403]);
  expect(backends.dialed).toEqual([]);
});

test("connect failures go to other endpoints; then 503", async () => {
  const { session, answers, backends } = open(meshWith(2));
  backends.outcome = () => "fail";
  session.start();
  await settle();
  expect(answers).toEqual([503]);
  expect(new Set(backends.dialed.map((endpoint) => endpoint.address)).size).toBe(2);
  const second = open(meshWith(2));
  second.backends.outcome = (dial) => (dial === 1 ? "fail" : "accept");
  second.session.start();
  await settle();
  expect(second.answers).toEqual(["accepted"]);
  second.client.stream.reset("cancel");
});

test("a client that goes while it is dialed cancels the dial", async () => {
  const { session, client, backends } = open();
  backends.outcome = () => "hang";
  session.start();
  await settle();
  expect(waypoint.target(9000).cluster.endpoints[0]!.active).toBe(1);
  client.stream.reset("cancel");
  await settle();
  expect(backends.aborted).toBe(1);
  expect(waypoint.target(9000).cluster.endpoints[0]!.active).toBe(0);
});

test.each(["client", "backend"] as const)("a %s that cuts cuts the other side", async (side) => {
  const { session, client, backends } = open();
  session.start();
  await settle();
  (side === "client" ? client : backends.last).stream.reset("cancel");
  await settle();
  expect(client.isClosed && backends.last.isClosed).toBe(true);
  expect(waypoint.target(9000).cluster.endpoints[0]!.active).toBe(0);
});

const REVIEWS = `default/${REVIEWS_HOST}`;

function routed(kind: "TLSRoute" | "TCPRoute", parts: Partial<ConnectionRoute>) {
  const route: ConnectionRoute = {
    kind,
    key: "default/r",
    source: { kind, namespace: "default", name: "r" },
    createdMs: 0,
    hostnames: [],
    position: undefined,
    rules: [{ name: "0", index: 0, backends: [BACKEND], position: undefined }],
    ...parts,
  };
  return { ...meshWith(1), routes: indexOf({ [`Service/${REVIEWS}`]: [{ route, ports: [] }] }) };
}

const BACKEND = {
  weight: 1,
  service: REVIEWS as string | undefined,
  port: 80,
  problem: undefined,
  position: undefined,
};

test.each([
  ["a backend of its route", [BACKEND], ["accepted"], "-"],
  ["a backend that does not exist", [{ ...BACKEND, service: undefined }], [503], "NC"],
  ["no weight", [{ ...BACKEND, weight: 0 }], [503], "NR"],
  ["no backend", [], [503], "NR"],
])("a connection with %s", async (_, backends, expected, flags) => {
  const rules = [{ name: "0", index: 0, backends, position: undefined }];
  const { session, client, answers } = open(routed("TCPRoute", { rules }));
  session.start();
  await settle();
  expect(answers).toEqual(expected);
  client.stream.reset("cancel");
  await settle();
  expect(waypoint.metrics()).toContain(`response_flags="${flags}"`);
});

test("TLS goes where its server name does", async () => {
  const snapshot = routed("TLSRoute", { hostnames: ["*.example.com"] });
  const known = open(snapshot);
  known.session.start(Buffer.alloc(0), "shop.example.com");
  await settle();
  expect(known.answers).toEqual(["accepted"]);
  known.client.stream.reset("cancel");
  await settle();
  for (const serverName of ["example.org", undefined]) {
    const unknown = open(snapshot);
    unknown.session.start(Buffer.alloc(0), serverName);
    await settle();
    expect(unknown.answers).toEqual([503]);
    expect(waypoint.metrics()).toContain('response_flags="NR"');
  }
});

test("the line of a connection says its server name, route, cluster and endpoint", async () => {
  const snapshot = routed("TLSRoute", {
    hostnames: ["shop.example.com"],
    rules: [{ name: "0", index: 0, backends: [{ ...BACKEND, port: 9000 }], position: undefined }],
  });
  waypoint = new FakeWaypoint(snapshot);
  const lines: Partial<AccessRecord>[] = [];
  const accessLog = { isOn: true, write: (line: AccessRecord) => lines.push(line) };
  const context = { ...waypoint.context, accessLog: accessLog as unknown as AccessLog };
  const answer = { accept() {}, refuse() {} };
  for (const serverName of ["shop.example.com", "elsewhere.org"]) {
    const [stream, remote] = MemoryStream.pair();
    const client = new MemoryPeer(remote);
    const target = waypoint.target(9000);
    new TcpSession(stream, waypoint.connection, context, target, answer).start(
      Buffer.alloc(0),
      serverName,
    );
    client.send("hello");
    await settle();
    client.stream.reset("cancel");
    await settle();
  }
  expect(lines).toMatchObject([
    {
      requestedServerName: "shop.example.com",
      routeName: "default.r.0",
      upstreamCluster: `inbound-vip|9000|tcp|${REVIEWS_HOST}`,
      upstreamHost: "127.70.1.1:9000",
      responseFlags: "-",
      bytesReceived: 5,
    },
    { requestedServerName: "elsewhere.org", routeName: "", upstreamHost: "", responseFlags: "NR" },
  ]);
});
