/** Tunnels while the client's certificate is renewed, over real TLS on loopback. */
import { afterEach, expect, test } from "vitest";
import { HOUR_MS, idOf, TestMesh } from "../../../test/support/identities.ts";
import { TUNNEL_LIMITS } from "../http2/limits.ts";
import type { Http2Stream } from "../http2/stream.ts";
import type { TlsIdentity } from "../tls.ts";
import { TunnelPool, type TunnelTarget } from "./tunnel-pool.ts";
import { type TunnelConnection, TunnelServer } from "./tunnel-server.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function start(maxStreamsPerConnection: number) {
  const mesh = await TestMesh.make();
  const server = await mesh.identity("server");
  const connections: TunnelConnection[] = [];
  const tunnels = new TunnelServer(
    {
      identity: () => server,
      trustDomains: () => ["cluster.local"],
      limits: TUNNEL_LIMITS,
      handshakeTimeoutMs: 2_000,
    },
    {
      onConnect(stream, _request, connection) {
        connections.push(connection);
        stream.respond([":status", "200"], false);
      },
    },
  );
  await tunnels.listen("127.0.0.1", 0);
  const connectTimeoutMs = 2_000;
  const options = { connectTimeoutMs, maxStreamsPerConnection, idleTimeoutMs: HOUR_MS };
  const pool = new TunnelPool({ ...options, limits: TUNNEL_LIMITS, maxConnectionsPerTarget: 2 });
  cleanups.push(
    () => pool.destroy(),
    () => tunnels.destroy(),
  );
  let identity: TlsIdentity = await mesh.identity("client");
  const target: TunnelTarget = {
    host: "127.0.0.1",
    port: tunnels.address!.port,
    expected: [idOf("server")],
    identity: () => identity,
    sourceAddress: undefined,
    poolKey: idOf("client"),
  };
  const open = () =>
    new Promise<Http2Stream>((resolve, reject) => {
      const request = { authority: "10.0.0.1:80", headers: [] };
      pool.open(target, request, { onOpen: (stream) => resolve(stream), onRefused: reject });
    });
  const renew = async () => {
    identity = await mesh.identity("client");
  };
  return { tunnels, connections, pool, open, renew };
}

test("new tunnels take the renewed certificate, and old ones stay until they end", async () => {
  const { tunnels, connections, pool, open, renew } = await start(100);
  const old = await open();
  await renew();
  await open();
  await open();
  expect(connections[1]).not.toBe(connections[0]);
  expect(connections[2]).toBe(connections[1]);
  expect(pool.stats).toMatchObject({ connections: 2, streams: 3 });
  old.reset("cancel");
  await expect.poll(() => tunnels.connectionCount).toBe(1);
  expect(pool.stats).toMatchObject({ connections: 1, streams: 2 });
});

test("an unused connection with the old certificate is closed, and its pool goes on", async () => {
  const { tunnels, connections, pool, open, renew } = await start(100);
  (await open()).reset("cancel");
  await expect.poll(() => pool.stats.streams).toBe(0);
  await renew();
  await open();
  expect(connections[1]).not.toBe(connections[0]);
  await expect.poll(() => tunnels.connectionCount).toBe(1);
  await open();
  expect(connections[2]).toBe(connections[1]);
  expect(pool.stats).toMatchObject({ connections: 1, connecting: 0, streams: 2, waiting: 0 });
});

test("connections with old certificates do not count against those that may be opened", async () => {
  const { pool, open, renew } = await start(1);
  await open();
  await open();
  await renew();
  await open();
  await open();
  expect(pool.stats).toMatchObject({ connections: 4, streams: 4 });
  await expect(open()).rejects.toThrow("no connection with room in time");
});
