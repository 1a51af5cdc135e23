/** `istio_tcp_sockets_open`: every way in, and every way out again. */
import { once } from "node:events";
import type net from "node:net";
import { afterEach, expect, test } from "vitest";
import { REVIEWS_VIP, ZtunnelMesh } from "../../test/support/ztunnel-mesh.ts";
import { setLogLevel } from "../kit/log.ts";

setLogLevel("silent");

const CLIENT = "127.70.0.2";
const REVIEWS = "127.70.0.1";
const STRANGER = "127.70.0.77";

let mesh: ZtunnelMesh;
afterEach(() => mesh.stop());

const open = () =>
  ["source", "destination"].map((reporter) =>
    mesh.value(`istio_tcp_sockets_open{reporter="${reporter}"}`),
  );

async function shows(source: number, destination: number): Promise<void> {
  await expect.poll(open).toEqual([source, destination]);
}

const echo = (socket: net.Socket) => void socket.pipe(socket);

async function spoken(socket: net.Socket): Promise<net.Socket> {
  socket.write("hello");
  await once(socket, "data");
  return socket;
}

test("a workload's socket counts at its source, the tunnel and a plain one at their destination", async () => {
  mesh = await ZtunnelMesh.start();
  await mesh.app("reviews-v1", 8080, echo);
  await shows(0, 0);
  const first = await spoken(await mesh.captured(CLIENT, REVIEWS_VIP, 80));
  // The second shares the tunnel of the first.
  const second = await spoken(await mesh.captured(CLIENT, REVIEWS_VIP, 80));
  await shows(2, 1);
  const plain = await spoken(await mesh.captured(STRANGER, REVIEWS, 8080));
  await shows(2, 2);
  plain.resetAndDestroy();
  await shows(2, 1);
  first.end();
  second.resetAndDestroy();
  await shows(0, 1);
  mesh.ztunnel.destroy();
  await shows(0, 0);
});

test("who is refused, and who never says a word, counts while it is there", async () => {
  mesh = await ZtunnelMesh.start();
  const silent = mesh.connectTunnel(REVIEWS);
  const socks = mesh.connect(await mesh.socks());
  await shows(1, 1);
  silent.resetAndDestroy();
  socks.resetAndDestroy();
  await shows(0, 0);
  const refused = await mesh.captured(CLIENT, REVIEWS_VIP, 81);
  await new Promise((resolve) => refused.once("close", resolve));
  await shows(0, 0);
});
