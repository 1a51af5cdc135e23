/** The DNS proxy on loopback, asked by the resolver of Node (c-ares) and by hand. */
import dgram from "node:dgram";
import { Resolver } from "node:dns/promises";
import { once } from "node:events";
import net from "node:net";
import { afterEach, expect, test } from "vitest";
import { indexOf, smallMesh } from "../../test/support/small-mesh.ts";
import { setLogLevel } from "../kit/log.ts";
import type { Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { EventLog } from "../telemetry/event-log.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { DnsProxy, type DnsProxyOptions } from "./dns-proxy.ts";

setLogLevel("silent");

const REVIEWS = "default/reviews.default.svc.cluster.local";
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function service(snapshot: Snapshot, hostname: string, more: Partial<Service>): [string, Service] {
  const key = `default/${hostname}`;
  return [key, { ...snapshot.services.get(REVIEWS)!, key, hostname, ...more }];
}

/** `reviews` with both families, `headless`, and three ServiceEntries. */
function snapshotWithNames(): Snapshot {
  const small = smallMesh();
  const reviews = { ...small.services.get(REVIEWS)!, addresses: ["127.80.0.1", "fd00::1"] };
  const headless = service(small, "headless.default.svc.cluster.local", { addresses: [] });
  const [endpoint] = small.endpoints.get(REVIEWS)!;
  const at = (address: string, isHealthy = true) => ({ ...endpoint!, address, isHealthy });
  const many = Array.from({ length: 60 }, (_, i) => at(`10.1.0.${i}`));
  return {
    ...small,
    services: indexOf(
      Object.fromEntries([
        [REVIEWS, reviews],
        headless,
        service(small, "big.default.svc.cluster.local", { addresses: [] }),
        service(small, "none.default.svc.cluster.local", { addresses: [] }),
        service(small, "www.example.com", { addresses: ["127.80.0.9"], canonical: false }),
        service(small, "*.wild.example", { addresses: ["127.80.0.8"], canonical: false }),
      ]),
    ),
    endpoints: indexOf({
      [headless[0]]: [at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.3", false), at("fd00::2")],
      "default/big.default.svc.cluster.local": many,
    }),
  };
}

interface Upstream {
  readonly port: number;
  readonly asked: Buffer[];
}

/** A resolver that answers each query as told; undefined: not at all. */
async function upstream(reply: (query: Buffer) => Buffer | undefined): Promise<Upstream> {
  const socket = dgram.createSocket("udp4");
  const asked: Buffer[] = [];
  socket.on("message", (query, from) => {
    asked.push(Buffer.from(query));
    const answer = reply(query);
    if (answer !== undefined) socket.send(answer, from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  cleanups.push(() => socket.close());
  return { port: socket.address().port, asked };
}

/** The query turned into an answer with one address. */
function answered(query: Buffer, flags = 0x8180): Buffer {
  const end = query.indexOf(0, 12) + 5;
  const reply = Buffer.concat([
    query.subarray(0, end),
    Buffer.of(0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1),
  ]);
  reply.writeUInt16BE(flags, 2);
  [1, 1, 0, 0].forEach((count, i) => {
    reply.writeUInt16BE(count, 4 + i * 2);
  });
  return reply;
}

async function start(resolverPorts: readonly number[] = [], more: Partial<DnsProxyOptions> = {}) {
  const registry = new MetricRegistry();
  const names = snapshotWithNames();
  const client = [...names.workloads.values()].find((w) => w.name === "client")!;
  const addresses = indexOf({ "127.0.0.1": { workloads: [client.uid], services: [] } });
  const snapshot = { ...names, addresses };
  const proxy = new DnsProxy({
    snapshots: { current: snapshot },
    registry,
    host: "127.0.0.1",
    port: 0,
    resolvers: resolverPorts.map((port) => ({ host: "127.0.0.1", port })),
    timeoutMs: 200,
    ...more,
  });
  cleanups.push(() => proxy.destroy());
  const port = await proxy.listen();
  const resolver = new Resolver({ timeout: 1_500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  const count = (name: string) =>
    registry
      .expose()
      .split("\n")
      .filter((line) => line.startsWith(name))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
  return { port, resolver, count, registry };
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "answered",
    (error: NodeJS.ErrnoException) => error.code,
  );

test("every form of a service's name leads to its addresses", async () => {
  const { resolver, count, registry } = await start();
  const forms = ["reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"];
  for (const name of ["reviews", "REVIEWS", ...forms]) {
    expect(await resolver.resolve4(name, { ttl: true }), name).toEqual([
      { address: "127.80.0.1", ttl: 30 },
    ]);
  }
  expect(await resolver.resolve6("reviews")).toEqual(["fd00::1"]);
  expect(count("istio_dns_requests_total")).toBe(6);
  expect(count("istio_dns_upstream_requests_total")).toBe(0);
  expect(registry.expose()).toContain(
    'istio_dns_requests_total{request_query_type="AAAA",request_protocol="udp",source_canonical_service="client"',
  );
});

test.each(["TEXT", "JSON"] as const)("each question has ztunnel's line: %s", async (encoding) => {
  const lines: string[] = [];
  const accessLog = new EventLog({
    scope: "dns",
    encoding: () => encoding,
    isLogged: (level) => level === "debug",
    write: (line) => void lines.push(line.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/, "TIME")),
  });
  const { port } = await upstream((query) => answered(query));
  const { resolver } = await start([port], { accessLog });
  await resolver.resolve4("reviews");
  await code(resolver.resolve4("none.default"));
  await resolver.resolve4("example.org");
  const failing = await start([], { accessLog });
  await code(failing.resolver.resolveMx("example.org"));
  const from = { "src.workload": "client", "src.namespace": "default" };
  const expected = [
    { query: "A", domain: "reviews.", result: "success", endpoints: 1 },
    { query: "A", domain: "none.default.", result: "no records", endpoints: 0 },
    { query: "A", domain: "example.org.", result: "forwarded", endpoints: 1 },
    {
      query: "TYPE15",
      domain: "example.org.",
      result: "forwarding failed (no_resolver)",
      endpoints: 0,
    },
  ];
  const text = (fields: object) =>
    Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const head = { level: "debug", time: "TIME", scope: "dns" };
  expect(lines).toEqual(
    expected.map((fields) =>
      encoding === "JSON"
        ? `${JSON.stringify({ ...head, ...from, ...fields })}\n`
        : `TIME\tdebug\tdns\t${text({ ...from, ...fields }).join(" ")}\n`,
    ),
  );
});

test("a name with a search domain behind it is a CNAME of the name that was meant", async () => {
  const { resolver } = await start();
  const names = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"];
  for (const domain of names) {
    expect(await resolver.resolve4(`www.example.com.${domain}`), domain).toEqual(["127.80.0.9"]);
  }
  expect(await resolver.resolve4("any.wild.example")).toEqual(["127.80.0.8"]);
  expect(await resolver.resolve4("deep.any.wild.example.cluster.local")).toEqual(["127.80.0.8"]);
});

test("headless: the healthy endpoints of the family; none, or another family: no data", async () => {
  const { resolver } = await start();
  expect((await resolver.resolve4("headless")).sort()).toEqual(["10.0.0.1", "10.0.0.2"]);
  expect(await resolver.resolve6("headless")).toEqual(["fd00::2"]);
  expect(await code(resolver.resolve4("none"))).toBe("ENODATA");
  expect(await code(resolver.resolve6("www.example.com"))).toBe("ENODATA");
});

test("what does not fit into a datagram is asked for over TCP", async () => {
  const { port, resolver, count } = await start();
  expect((await resolver.resolve4("big")).length).toBe(60);
  expect(count("waystone_dns_malformed_requests_total")).toBe(0);
  // And by hand: a plain 512-byte client is told with TC, and TCP gives all of it.
  const name = Buffer.concat([Buffer.of(3), Buffer.from("big"), Buffer.of(0, 0, 1, 0, 1)]);
  const query = Buffer.concat([Buffer.from("abcd01000001000000000000", "hex"), name]);
  const udp = dgram.createSocket("udp4");
  cleanups.push(() => udp.close());
  udp.send(query, port, "127.0.0.1");
  const [short] = (await once(udp, "message")) as [Buffer];
  expect(short.length).toBeLessThanOrEqual(512);
  expect(short.readUInt16BE(2) & 0x0200).toBe(0x0200);
  const tcp = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  cleanups.push(() => tcp.destroy());
  // Byte by byte, two at once behind one another, and then the end of writing.
  const framed = Buffer.concat([Buffer.of(0, query.length), query]);
  for (const byte of framed) tcp.write(Buffer.of(byte));
  tcp.end(framed);
  const chunks: Buffer[] = [];
  tcp.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(tcp, "end");
  const all = Buffer.concat(chunks);
  const first = all.subarray(2, 2 + all.readUInt16BE(0));
  expect(first.readUInt16BE(6)).toBe(60);
  expect(all.length).toBe(2 * (2 + first.length));
});

test("other names and types go to the resolver behind, and come back as they are", async () => {
  const behind = await upstream((query) => answered(query));
  const { resolver, count } = await start([behind.port]);
  expect(await resolver.resolve4("elsewhere.example")).toEqual(["192.0.2.1"]);
  await code(resolver.resolveTxt("reviews"));
  expect(behind.asked.length).toBe(2);
  expect(count("istio_dns_upstream_requests_total")).toBe(2);
  expect(count("istio_dns_upstream_request_duration_seconds_count")).toBe(2);
  expect(count("istio_dns_upstream_failures_total")).toBe(0);
});

test("forged and broken answers are not passed on; the next resolver is asked", async () => {
  const forging = await upstream((query) => {
    const reply = answered(query);
    reply.writeUInt16BE(reply.readUInt16BE(0) ^ 1, 0);
    return reply;
  });
  const broken = await upstream((query) => answered(query).subarray(0, -3));
  const silent = await upstream(() => undefined);
  const good = await upstream((query) => answered(query));
  const { resolver, count } = await start([forging.port, broken.port, silent.port, good.port]);
  expect(await resolver.resolve4("elsewhere.example")).toEqual(["192.0.2.1"]);
  expect([forging, broken, silent, good].map(({ asked }) => asked.length)).toEqual([1, 1, 1, 1]);
  expect(count("istio_dns_upstream_failures_total")).toBe(0);
});

test("without an answer from behind it is SERVFAIL, counted, and bounded in time and number", async () => {
  const silent = await upstream(() => undefined);
  const { resolver, count } = await start([silent.port], { maxPending: 2 });
  const names = ["a.example", "b.example", "c.example", "d.example"];
  const codes = await Promise.all(names.map((name) => code(resolver.resolve4(name))));
  expect(codes).toEqual(names.map(() => "ESERVFAIL"));
  expect(silent.asked.length).toBe(2);
  expect(count("istio_dns_upstream_failures_total")).toBe(4);
  expect(count('waystone_limits_reached_total{limit="dns_questions"}')).toBe(2);
  const nobody = await start();
  expect(await code(nobody.resolver.resolve4("a.example"))).toBe("ESERVFAIL");
});

test("TCP connections beyond the limit are closed, and counted", async () => {
  const { port, count } = await start();
  const open = async () => {
    const socket = net.connect(port, "127.0.0.1");
    cleanups.push(() => socket.destroy());
    socket.on("error", () => {});
    await once(socket, "connect");
    return socket;
  };
  for (let i = 0; i < 256; i++) await open();
  const refused = await open();
  await new Promise((resolve) => refused.resume().once("close", resolve));
  expect(count('waystone_limits_reached_total{limit="dns_connections"}')).toBe(1);
});

test("what is not a query is refused and counted, and answers are never answered", async () => {
  const { port, count } = await start();
  const udp = dgram.createSocket("udp4");
  cleanups.push(() => udp.close());
  const replies: Buffer[] = [];
  udp.on("message", (bytes) => replies.push(bytes));
  udp.send(Buffer.from("abcd81800001000000000000", "hex"), port, "127.0.0.1");
  udp.send(Buffer.from("ab"), port, "127.0.0.1");
  udp.send(Buffer.from("abce01000001000000000000c00c00010001", "hex"), port, "127.0.0.1");
  await expect.poll(() => count("waystone_dns_malformed_requests_total")).toBe(3);
  await expect.poll(() => replies.length).toBe(1);
  expect(replies[0]!.toString("hex")).toBe("abce80810000000000000000");
  const tcp = net.connect({ port, host: "127.0.0.1" });
  cleanups.push(() => tcp.destroy());
  tcp.on("error", () => {});
  tcp.write(Buffer.of(0xff, 0xff));
  await new Promise((resolve) => tcp.once("close", resolve));
  expect(count("waystone_dns_malformed_requests_total")).toBe(4);
});

test("a client outside the mesh gets full names, and short ones mean nothing to it", async () => {
  const { port, resolver } = await start();
  expect(await code(resolver.resolve4("reviews"))).toBe("answered");
  const stranger = new Resolver({ timeout: 1_500, tries: 1 });
  stranger.setServers([`127.0.0.1:${port}`]);
  stranger.setLocalAddress("127.0.0.77");
  expect(await stranger.resolve4("reviews.default.svc.cluster.local")).toEqual(["127.80.0.1"]);
  expect(await code(stranger.resolve4("reviews"))).toBe("ESERVFAIL");
});
