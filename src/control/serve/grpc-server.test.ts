/** The control plane's port as a stranger finds it. */
import { once } from "node:events";
import net from "node:net";
import { expect, test } from "vitest";
import { metric, TestAuthority } from "../../../test/support/ads.ts";
import { setLogLevel } from "../../kit/log.ts";
import { MetricRegistry } from "../../telemetry/metrics.ts";
import { GrpcServer } from "./grpc-server.ts";

setLogLevel("silent");

test("connections beyond the limit are closed, and counted", async () => {
  const identity = await (await TestAuthority.make()).issue();
  const registry = new MetricRegistry();
  const server = new GrpcServer({
    host: "127.0.0.1",
    port: 0,
    tls: () => identity,
    routes: (router) => router,
    maxConnections: 2,
    registry,
  });
  await server.listen();
  const open = async () => {
    const socket = net.connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    await once(socket, "connect");
    return socket;
  };
  const kept = [await open(), await open()];
  const refused = await open();
  await new Promise((resolve) => refused.resume().once("close", resolve));
  const series = 'waystone_limits_reached_total{limit="control_plane_connections"}';
  expect(metric(registry, series)).toBe(1);
  for (const socket of kept) socket.destroy();
  server.destroy();
});
