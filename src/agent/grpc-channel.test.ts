/** Whom a proxy takes for its control plane, and when it looks again. */
import net from "node:net";
import { createServer } from "node:tls";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeAll, expect, test } from "vitest";
import { TestAuthority, until } from "../../test/support/ads.ts";
import { ScriptedControlPlane } from "../../test/support/raw-ads-server.ts";
import { AggregatedDiscoveryService } from "../wire/gen/envoy/discovery_pb.ts";
import { callFailure, GrpcChannel, type GrpcChannelOptions } from "./grpc-channel.ts";

const cleanups: (() => unknown)[] = [];
let authority: TestAuthority;

beforeAll(async () => {
  authority = await TestAuthority.make();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function script(names?: readonly string[]): Promise<ScriptedControlPlane> {
  const server = await ScriptedControlPlane.start(await authority.issue(names));
  server.onStream = (stream) => stream.begin().read().end();
  cleanups.push(() => server.close());
  return server;
}

function channel(port: number, options: Partial<GrpcChannelOptions> = {}): GrpcChannel {
  const made = new GrpcChannel({
    host: "localhost",
    port,
    roots: async () => authority.rootsPem,
    token: async () => "good",
    clusterId: "Kubernetes",
    ...options,
  });
  cleanups.push(() => made.close());
  return made;
}

/** A stream from beginning to end. */
async function call(made: GrpcChannel): Promise<void> {
  const client = createClient(AggregatedDiscoveryService, await made.transport());
  const headers = await made.headers();
  async function* nothing() {}
  for await (const _ of client.deltaAggregatedResources(nothing(), { headers }));
}

test("the name of the address must be in the certificate", async () => {
  const other = await script(["istiod.istio-system.svc"]);
  await expect(call(channel(other.port))).rejects.toThrow(/altnames|localhost/);
  const right = await script(["localhost"]);
  await call(channel(right.port));
});

test("a control plane that is known by its identity must have that, whatever its name", async () => {
  const authority = await TestAuthority.make();
  const identity = "spiffe://cluster.local/ns/istio-system/sa/waystone";
  const roots = async () => authority.rootsPem;
  const serve = async (spiffeId: string) => {
    const server = await ScriptedControlPlane.start(await authority.issueWorkload(spiffeId));
    server.onStream = (stream) => stream.begin().read().end();
    cleanups.push(() => server.close());
    return server.port;
  };
  await call(channel(await serve(identity), { roots, identity }));
  const other = channel(await serve(`${identity}2`), { roots, identity });
  const why = await call(other).catch(callFailure);
  expect(why).toContain(`is of ${identity}2, not of ${identity}`);
  // A name is no identity, and an identity no name.
  const named = await ScriptedControlPlane.start(await authority.issue(["localhost"]));
  cleanups.push(() => named.close());
  await expect(call(channel(named.port, { roots, identity }))).rejects.toThrow(/of nobody/);
  await expect(call(channel(await serve(identity), { roots }))).rejects.toThrow(
    /altnames|localhost/,
  );
  // Who has the name under another root is not believed.
  const stranger = await TestAuthority.make();
  const foreign = await ScriptedControlPlane.start(await stranger.issueWorkload(identity));
  cleanups.push(() => foreign.close());
  await expect(call(channel(foreign.port, { roots, identity }))).rejects.toThrow(/certificate/);
});

test("an address must be in the certificate, and is not sent as a name", async () => {
  const host = "127.0.0.1";
  const named = await script(["localhost"]);
  await expect(call(channel(named.port, { host }))).rejects.toThrow(/127\.0\.0\.1/);
  const right = await script(["127.0.0.1"]);
  await call(channel(right.port, { host }));
});

test("a root that is another is not believed, until it is in the file", async () => {
  const server = await script();
  const other = await TestAuthority.make();
  let rootsPem = other.rootsPem;
  const made = channel(server.port, { roots: async () => rootsPem });
  await expect(call(made)).rejects.toThrow(/certificate/);
  rootsPem = `${other.rootsPem}${authority.rootsPem}`;
  made.failed();
  await call(made);
});

test("the token is read for each call, and the connection kept", async () => {
  const server = await script();
  let token = "good-1";
  const made = channel(server.port, { token: async () => token });
  await call(made);
  token = "good-2";
  await call(made);
  const sent = server.streams.map(({ headers }) => headers.authorization);
  expect(sent).toEqual(["Bearer good-1", "Bearer good-2"]);
});

async function listen(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

test("TLS 1.2 and servers without HTTP/2 are not spoken to", async () => {
  const { certPem: cert, keyPem: key } = await authority.issue();
  const old = createServer({ cert, key, maxVersion: "TLSv1.2", ALPNProtocols: ["h2"] });
  await expect(call(channel(await listen(old)))).rejects.toThrow(/protocol version|alert/i);
  const without = createServer({ cert, key });
  await expect(call(channel(await listen(without)))).rejects.toThrow("does not speak HTTP/2");
});

test("a server that does not shake hands is given up", async () => {
  const sockets: net.Socket[] = [];
  const port = await listen(net.createServer((socket) => sockets.push(socket.resume())));
  const startMs = performance.now();
  const made = channel(port, { limits: { connectTimeoutMs: 200 } });
  await expect(call(made)).rejects.toThrow("no connection within 200 ms");
  expect(performance.now() - startMs).toBeLessThan(2_000);
  await until(() => sockets[0]!.readableEnded, "the socket is closed");
  for (const socket of sockets) socket.destroy();
});

test("a server that is not there is said not to be", async () => {
  const server = net.createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  await expect(call(channel(port))).rejects.toThrow(/ECONNREFUSED/);
});

test("a server that does not answer PING is left", async () => {
  const { certPem: cert, keyPem: key } = await authority.issue();
  const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
  const server = createServer({ cert, key, ALPNProtocols: ["h2"] }, (socket) => {
    socket.on("error", () => {});
    socket.write(SETTINGS);
    socket.resume();
  });
  const limits = { pingIntervalMs: 100, pingTimeoutMs: 100 };
  const made = channel(await listen(server), { limits });
  await expect(call(made)).rejects.toThrow(/ping|canceled|aborted|reset/i);
});
