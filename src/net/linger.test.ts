/** `lingerThenDestroy`, with a peer that reads late, never, or goes on talking. */
import { once } from "node:events";
import net, { type AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { lingerThenDestroy } from "./tls.ts";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
});

async function ends(): Promise<{ own: net.Socket; peer: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const peer = net.connect({
    port: (server.address() as AddressInfo).port,
    host: "127.0.0.1",
    allowHalfOpen: true,
  });
  const [own] = (await once(server, "connection")) as [net.Socket];
  own.on("error", () => {});
  peer.on("error", () => {});
  own.resume();
  open.push(() => {
    own.destroy();
    peer.destroy();
    server.close();
  });
  return { own, peer };
}

test("a peer that starts to read only after seconds gets the tail whole", async () => {
  const { own, peer } = await ends();
  peer.pause();
  const tail = Buffer.alloc(24 * 1_048_576, 7);
  own.end(tail);
  lingerThenDestroy(own);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  let count = 0;
  peer.on("data", (bytes) => {
    count += bytes.length;
  });
  peer.on("end", () => peer.end());
  peer.resume();
  await once(peer, "close");
  expect(count).toBe(tail.length);
});

test("a peer that does not end its side is cut after a second, one in the wrong at once then", async () => {
  const { own } = await ends();
  own.end("bye");
  const startMs = performance.now();
  lingerThenDestroy(own);
  await once(own, "close");
  expect(performance.now() - startMs).toBeLessThan(3_500);

  const talker = await ends();
  const timer = setInterval(() => talker.peer.write("more"), 50);
  open.push(() => clearInterval(timer));
  talker.own.end("bye");
  lingerThenDestroy(talker.own, true);
  await once(talker.own, "close");
});
