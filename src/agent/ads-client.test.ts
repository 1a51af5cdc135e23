/** A proxy's side of delta ADS, with the control plane and with servers that are none. */
import { pino } from "pino";
import { afterEach, beforeAll, expect, test } from "vitest";
import {
  channelTo,
  metric,
  TestAuthority,
  TestControlPlane,
  TestSink,
  TestSource,
  until,
} from "../../test/support/ads.ts";
import { frame } from "../../test/support/raw-ads-client.ts";
import { ScriptedControlPlane, type ScriptedStream } from "../../test/support/raw-ads-server.ts";
import { setLogLevel } from "../kit/log.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { RESOURCE_TYPES } from "../wire/resource.ts";
import { encodeRevision } from "../wire/revision.ts";
import { AdsClient, type AdsClientOptions } from "./ads-client.ts";
import type { GrpcChannelLimits } from "./grpc-channel.ts";

setLogLevel(process.env.WAYSTONE_LOG_LEVEL ?? "silent");

const { address, authorization, revision } = RESOURCE_TYPES;
const node = { id: "waypoint~10.0.0.1~wp.shop~shop.svc.cluster.local", metadata: { NAME: "wp" } };
const cleanups: (() => unknown)[] = [];
let authority: TestAuthority;

beforeAll(async () => {
  authority = await TestAuthority.make();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Started {
  readonly client: AdsClient;
  readonly sink: TestSink;
  readonly registry: MetricRegistry;
}

function start(
  at: { readonly port: number },
  options: Partial<AdsClientOptions> & { limits?: Partial<GrpcChannelLimits> } = {},
): Started {
  const sink = new TestSink();
  const registry = new MetricRegistry();
  const { limits = {}, ...others } = options;
  const channel = channelTo(at, authority.rootsPem, { limits });
  const client = new AdsClient({ channel, node, sink, registry, ...others });
  client.start();
  cleanups.push(() => {
    client.close();
    channel.close();
  });
  return { client, sink, registry };
}

async function serve(source: TestSource, port = 0): Promise<TestControlPlane> {
  const plane = await TestControlPlane.start({ source, authority, port });
  cleanups.push(() => plane.kill());
  return plane;
}

async function script(): Promise<ScriptedControlPlane> {
  const scripted = await ScriptedControlPlane.start(await authority.issue());
  cleanups.push(() => scripted.close());
  return scripted;
}

const resourceOf = (typeUrl: string, name: string, content = name) => ({
  name,
  version: content,
  resource: { typeUrl, value: Buffer.from(content) },
});

const stamp = (id: number) => ({
  typeUrl: revision,
  resources: [resourceOf(revision, "revision")].map((one) => ({
    ...one,
    resource: { typeUrl: revision, value: encodeRevision({ id, digest: "" }).bytes },
  })),
});

test("it has what the control plane has, and says so", async () => {
  const source = new TestSource([
    { type: address, name: "a", content: "1" },
    { type: authorization, name: "n/p", content: "1" },
  ]);
  const plane = await serve(source);
  const { client, sink, registry } = start(plane);
  await until(() => sink.lastRevision === 2, "the first revision");
  expect(sink.contents).toEqual(source.contents);
  expect(client.isConnected).toBe(true);
  expect(client.revision).toBe(2);
  source.apply([
    { type: address, name: "a" },
    { type: address, name: "b", content: "2" },
  ]);
  await until(() => sink.lastRevision === 3, "the second revision");
  expect(sink.committed.map(({ revision: { id }, contents }) => [id, contents])).toEqual([
    [2, source.history.get(2)],
    [3, source.history.get(3)],
  ]);
  expect(metric(registry, "waystone_ads_connected")).toBe(1);
  expect(metric(registry, "waystone_ads_revision")).toBe(3);
  const enforced = () => plane.ads.clients[0]!.enforcedRevision;
  await until(() => enforced() === 3, "the control plane knows");
  expect(plane.ads.clients[0]!.node).toBe(node.id);
});

test("a control plane that is killed and comes back is asked for the difference", async () => {
  const many = Array.from({ length: 200 }, (_, i) => `r${i}`);
  const source = new TestSource(many.map((name) => ({ type: address, name, content: "1" })));
  const first = await serve(source);
  const { client, sink, registry } = start(first);
  await until(() => sink.lastRevision === source.revision.id, "the first revision");
  expect(sink.received).toBe(200);
  const { port } = first;
  first.kill();
  await until(() => !client.isConnected, "it is noticed");
  expect(metric(registry, "waystone_ads_connected")).toBe(0);
  expect(sink.contents).toEqual(source.contents);
  source.apply([
    { type: address, name: "r0" },
    { type: address, name: "r1", content: "2" },
    { type: address, name: "new", content: "1" },
  ]);
  await serve(source, port);
  await until(() => sink.lastRevision === source.revision.id, "it is back");
  expect(sink.contents).toEqual(source.contents);
  expect(sink.received).toBe(202);
  expect(metric(registry, "waystone_ads_reconnects_total")).toBeGreaterThan(0);
});

test("a first request for each type, in order, says what is held; then each is answered", async () => {
  const server = await script();
  const { sink } = start(server);
  const first = await server.stream();
  await until(() => first.requests.length === sink.types.length, "the first requests");
  expect(first.requests.map(({ typeUrl }) => typeUrl)).toEqual(sink.types);
  for (const { responseNonce, resourceNamesSubscribe, initialResourceVersions } of first.requests) {
    expect({ responseNonce, resourceNamesSubscribe, initialResourceVersions }).toEqual({
      responseNonce: "",
      resourceNamesSubscribe: [],
      initialResourceVersions: {},
    });
  }
  expect(first.requests[0]!.node).toMatchObject(node);
  expect(first.headers).toMatchObject({ authorization: "Bearer good", clusterid: "Kubernetes" });
  const nonce = first.send({ typeUrl: address, resources: [resourceOf(address, "a", "7")] });
  const answer = await first.answerTo(nonce);
  expect({ typeUrl: answer.typeUrl, error: answer.errorDetail }).toEqual({ typeUrl: address });
  first.end();
  const second = await server.stream(1);
  await until(() => second.requests.length === sink.types.length, "the second requests");
  const held = second.requests.find(({ typeUrl }) => typeUrl === address);
  expect(held!.initialResourceVersions).toEqual({ a: "7" });
});

test("half a batch is never in force, and what follows a broken stream is whole", async () => {
  const server = await script();
  const { sink } = start(server);
  const first = await server.stream();
  await first.answerTo(first.send({ typeUrl: address, resources: [resourceOf(address, "a")] }));
  first.end("14", "transport is closing");
  const second = await server.stream(1);
  expect(sink.committed).toEqual([]);
  await second.answerTo(second.send({ typeUrl: address, removedResources: ["a"] }));
  await second.answerTo(second.send(stamp(5)));
  expect(sink.committed).toMatchObject([{ revision: { id: 5 }, contents: {} }]);
});

test("what cannot be taken is refused by name, and the rest is", async () => {
  const server = await script();
  const { sink, registry } = start(server);
  sink.refuses = new Map([["bad", "not an address"]]);
  const stream = await server.stream();
  const resources = ["a", "bad", "b"].map((name) => resourceOf(address, name));
  const nonce = stream.send({ typeUrl: address, resources: [...resources, { name: "empty" }] });
  const { errorDetail } = await stream.answerTo(nonce);
  expect(errorDetail).toMatchObject({
    code: 0,
    message: "empty: no resource; bad: not an address",
  });
  expect([...sink.versions(address).keys()]).toEqual(["a", "b"]);
  const refused = `waystone_ads_resources_refused_total{type="${address}"}`;
  expect(metric(registry, refused)).toBe(1);
  expect(stream.isClosed).toBe(false);
});

test("of a name twice the last counts, and one in both lists is gone", async () => {
  const server = await script();
  const { sink } = start(server);
  const stream = await server.stream();
  const resources = [
    resourceOf(address, "twice", "1"),
    resourceOf(address, "both"),
    resourceOf(address, "twice", "2"),
  ];
  const removedResources = ["both", "both", "never there"];
  const { errorDetail } = await stream.answerTo(
    stream.send({ typeUrl: address, resources, removedResources }),
  );
  expect(errorDetail).toBeUndefined();
  expect([...sink.versions(address)]).toEqual([["twice", "2"]]);
});

test("a type that was not asked for is passed over", async () => {
  const server = await script();
  const { sink } = start(server);
  const stream = await server.stream();
  const typeUrl = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
  const answer = await stream.answerTo(stream.send({ typeUrl, resources: [{ name: "x" }] }));
  expect(answer.errorDetail).toBeUndefined();
  expect(sink.staged).toEqual([]);
});

test("a revision that is refused is told why, and asked for anew, ever more slowly", async () => {
  const server = await script();
  const { client, sink } = start(server);
  sink.refusal = "digest";
  const told: (string | undefined)[] = [];
  const times: number[] = [];
  for (let i = 0; i < 6; i++) {
    const stream = await server.stream(i);
    times.push(performance.now());
    const answer = await stream.answerTo(stream.send(stamp(i + 1)));
    told.push(answer.errorDetail?.message);
    stream.end();
  }
  expect(told).toEqual(Array.from({ length: 6 }, () => "digest"));
  expect(times[5]! - times[4]!).toBeGreaterThan(2 * (times[1]! - times[0]!) - 20);
  expect(times[5]! - times[4]!).toBeGreaterThan(60);
  expect(client.revision).toBe(0);
  sink.refusal = undefined;
  const last = await server.stream(6);
  last.send(stamp(9));
  await until(() => client.revision === 9, "it is taken");
});

test("a revision that is none is refused", async () => {
  const server = await script();
  start(server);
  const stream = await server.stream();
  const resources = [resourceOf(revision, "revision", "\xff\xff\xff")];
  const { errorDetail } = await stream.answerTo(stream.send({ typeUrl: revision, resources }));
  expect(errorDetail?.message).toMatch(/^not a revision/);
});

const received = (registry: MetricRegistry, url: string) =>
  ["message", "message_bytes"].map((name) =>
    metric(registry, `istio_xds_${name}_total{url="${url}"}`),
  );

test("responses and their bytes are counted by type, what was not asked for under one name", async () => {
  const server = await script();
  const { registry } = start(server);
  const stream = await server.stream();
  stream.send({ typeUrl: address, resources: [resourceOf(address, "a", "seven b")] });
  stream.send({ typeUrl: address, resources: [resourceOf(address, "b", "12")] });
  stream.send({ typeUrl: "mine", resources: [resourceOf("mine", "x", "1")] });
  await stream.answerTo(stream.send({ typeUrl: address, removedResources: ["a"] }));
  expect(received(registry, address)).toEqual([3, 9]);
  expect(received(registry, "unknown")).toEqual([1, 1]);
  expect(received(registry, "mine")).toEqual([0, 0]);
});

test.each<[string, string, (stream: ScriptedStream) => void]>([
  ["Complete", "ends", (stream) => stream.end()],
  ["Reconnect", "is at the end of its time", (stream) => stream.end("4", "max age")],
  ["Reconnect", "is told to go", (stream) => stream.end("14", "transport is closing")],
  ["Error", "is overloaded", (stream) => stream.end("14", "no room")],
  ["Error", "fails", (stream) => stream.end("13", "no")],
])("the end of a stream is counted: %s when it %s", async (reason, _what, act) => {
  const server = await script();
  const { registry } = start(server);
  const stream = await server.stream();
  await stream.answerTo(stream.send({ typeUrl: address }));
  act(stream);
  await server.stream(1);
  const series = "istio_xds_connection_terminations_total";
  expect(metric(registry, `${series}{reason="${reason}"}`)).toBe(1);
});

test("a stream that ends in its time is no news; a server that is away is, once and by name", async () => {
  const server = await script();
  const lines: string[] = [];
  const told = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line).msg) });
  const { registry } = start(server, { serverName: "istiod", log: told });
  const first = await server.stream();
  await first.answerTo(first.send({ typeUrl: address }));
  // So long that it was no failure.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  first.end();
  const second = await server.stream(1);
  await second.answerTo(second.send({ typeUrl: address }));
  expect(lines).toEqual([]);
  await server.close();
  const reconnects = () => metric(registry, "waystone_ads_reconnects_total");
  await until(() => reconnects() > 4, "it is tried again and again");
  expect(lines).toEqual(["no configuration from istiod; trying again"]);
});

test("a control plane that is not there is a ConnectionError each time", async () => {
  const server = await script();
  const { port } = server;
  await server.close();
  const { registry } = start({ port });
  const series = 'istio_xds_connection_terminations_total{reason="ConnectionError"}';
  await until(() => metric(registry, series) > 1, "it is tried again");
});

const MIB = 1024 * 1024;

test.each<[string, (stream: ScriptedStream) => void]>([
  ["is garbage", (stream) => stream.sendBytes(Buffer.from("HTTP/1.1 200 OK\r\n\r\n"))],
  ["holds garbage", (stream) => stream.sendBytes(frame(Buffer.from([0xff, 0xff, 0xff])))],
  ["is announced as 4 GiB", (stream) => stream.sendBytes(frame(Buffer.alloc(9), 0xffffffff))],
  ["is compressed", (stream) => stream.sendBytes(Buffer.from([1, 0, 0, 0, 1, 0]))],
  [
    "breaks off",
    (stream) => {
      stream.sendBytes(frame(Buffer.alloc(9), 1000));
      stream.end();
    },
  ],
  ["is an error", (stream) => stream.end("13", "no")],
])("of a server whose response %s another stream is made; nothing is lost", async (_name, act) => {
  const server = await script();
  const { client, sink } = start(server);
  const first = await server.stream();
  first.send({ typeUrl: address, resources: [resourceOf(address, "a")] });
  await first.answerTo(first.send(stamp(1)));
  act(first);
  const second = await server.stream(1);
  await until(() => first.isClosed, "the first stream is ended");
  expect(client.revision).toBe(1);
  await second.answerTo(second.send(stamp(2)));
  expect(sink.committed.map(({ contents }) => Object.keys(contents))).toEqual([
    [`${address} a`],
    [`${address} a`],
  ]);
});

test("a message larger than the limit is not kept", async () => {
  const server = await script();
  start(server, { limits: { messageBytesMax: MIB } });
  const first = await server.stream();
  // Announced as small enough, and another one behind it that is not.
  first.sendBytes(frame(Buffer.alloc(9), MIB + 1));
  for (let i = 0; i < 8; i++) first.sendBytes(Buffer.alloc(MIB));
  await server.stream(1);
  await until(() => first.isClosed, "it is cut");
});

test("a server that says nothing is left for another try", async () => {
  const server = await script();
  server.onStream = (stream) => stream.read();
  const { client } = start(server, { firstResponseTimeoutMs: 100 });
  await server.stream(2);
  expect(client.isConnected).toBe(false);
  expect(server.streams[0]!.isClosed).toBe(true);
});

test("a server that sends and does not read is not let send for ever", async () => {
  const server = await script();
  // Without reading: what the client may send is a window.
  server.onStream = (stream) => stream.begin();
  const { sink } = start(server);
  const stream = await server.stream();
  const name = "n".repeat(1000);
  let isStuck = false;
  for (let i = 0; i < 200_000 && !isStuck; i++) {
    const message = { typeUrl: address, nonce: name, removedResources: [name] };
    stream.send(message);
    if (i % 100 === 99) {
      const before = sink.staged.length;
      await new Promise((resolve) => setTimeout(resolve, 20));
      isStuck = i > 1000 && sink.staged.length === before;
    }
  }
  expect(isStuck).toBe(true);
  // A window of answers, and those that wait.
  expect(sink.staged.length).toBeLessThan(1_000);
});

test("streams that end at once are not opened in a tight loop", async () => {
  const server = await script();
  server.onStream = (stream) => {
    stream.begin().read().send({ typeUrl: address });
    stream.end();
  };
  start(server);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(server.streams.length).toBeGreaterThan(3);
  expect(server.streams.length).toBeLessThan(12);
});

test("closing ends the stream, and it stays ended", async () => {
  const server = await script();
  const { client, registry } = start(server);
  const stream = await server.stream();
  await stream.answerTo(stream.send({ typeUrl: address }));
  client.close();
  await until(() => stream.isClosed, "it is ended");
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(server.streams).toHaveLength(1);
  expect(client.isConnected).toBe(false);
  expect(metric(registry, "waystone_ads_connected")).toBe(0);
});
