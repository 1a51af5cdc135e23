/** Peers that stop reading, trickle, or go while a ztunnel carries their bytes. */
import type net from "node:net";
import { afterEach, expect, test } from "vitest";
import { REVIEWS_VIP, ZtunnelMesh } from "../../test/support/ztunnel-mesh.ts";
import { setLogLevel } from "../kit/log.ts";
import { TUNNEL_LIMITS } from "../net/http2/limits.ts";

setLogLevel("silent");

const CLIENT = "127.70.0.2";
const MIB = 1 << 20;
/** What the kernel holds on a loopback connection, both of its ends, and one read of ours. */
const KERNEL_BYTES = 12 * MIB;

let mesh: ZtunnelMesh;
afterEach(() => mesh.stop());

/** Writes until nothing has been taken for a while; gives how much was. */
async function fill(socket: net.Socket): Promise<number> {
  const chunk = Buffer.alloc(256 * 1024);
  const taken = () => socket.bytesWritten - socket.writableLength;
  let [last, sinceMs] = [0, performance.now()];
  while (performance.now() - sinceMs < 400) {
    if (socket.writableLength < MIB) socket.write(chunk);
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (taken() > last) [last, sinceMs] = [taken(), performance.now()];
    expect(last).toBeLessThan(256 * MIB);
  }
  return last;
}

test("an application that does not read holds its client to windows, and others go on", async () => {
  mesh = await ZtunnelMesh.start();
  const apps: net.Socket[] = [];
  await mesh.app("reviews-v1", 8080, (socket) => {
    apps.push(socket);
    if (apps.length === 1) socket.pause();
    else socket.pipe(socket);
  });
  const stalled = await mesh.captured(CLIENT, REVIEWS_VIP, 80);
  const taken = await fill(stalled);
  // Three kernels between four ends, and one window in the tunnel.
  expect(taken).toBeLessThan(TUNNEL_LIMITS.streamWindowBytes + 3 * KERNEL_BYTES);
  const other = await mesh.captured(CLIENT, REVIEWS_VIP, 80);
  other.end("through the same tunnel");
  let echoed = "";
  for await (const bytes of other) echoed += String(bytes);
  expect(echoed).toBe("through the same tunnel");
  // And once it reads, everything that was taken arrives.
  let arrived = 0;
  const written = stalled.bytesWritten;
  apps[0]!.on("data", (bytes: Buffer) => {
    arrived += bytes.length;
  });
  apps[0]!.resume();
  stalled.end();
  await expect.poll(() => arrived, { timeout: 10_000 }).toBe(written);
}, 20_000);

test("a client that does not read holds its application to windows", async () => {
  mesh = await ZtunnelMesh.start();
  let app: net.Socket | undefined;
  await mesh.app("reviews-v1", 8080, (socket) => {
    app = socket;
  });
  const client = await mesh.captured(CLIENT, REVIEWS_VIP, 80);
  await expect.poll(() => app).toBeDefined();
  client.pause();
  expect(await fill(app!)).toBeLessThan(TUNNEL_LIMITS.streamWindowBytes + 3 * KERNEL_BYTES);
  client.destroy();
  await expect.poll(() => app!.destroyed).toBe(true);
  await expect.poll(() => mesh.ztunnel.connectionCount).toBe(0);
}, 20_000);

test("bytes that trickle, both ways at once, arrive one by one and in order", async () => {
  mesh = await ZtunnelMesh.start();
  await mesh.app("reviews-v1", 8080, (socket) => socket.pipe(socket));
  const client = await mesh.captured(CLIENT, REVIEWS_VIP, 80);
  let heard = "";
  client.on("data", (bytes: Buffer) => {
    heard += bytes.toString();
  });
  const sent = "one byte after another";
  for (const [i, byte] of [...sent].entries()) {
    client.write(byte);
    await expect.poll(() => heard, { interval: 2 }).toBe(sent.slice(0, i + 1));
  }
});
