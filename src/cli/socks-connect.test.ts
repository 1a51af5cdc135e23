import net from "node:net";
import { afterEach, expect, test } from "vitest";
import { connectSocks } from "./socks-connect.ts";

const servers: net.Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A proxy as a dialogue: for each message that it expects, what it answers. */
function proxy(...dialogue: [expected: number[], answer: number[]][]): Promise<number> {
  const server = net.createServer((socket) => {
    let received = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      received = Buffer.concat([received, bytes]);
      const [next] = dialogue;
      if (next === undefined || received.length < next[0].length) return;
      expect([...received]).toEqual(next[0]);
      received = Buffer.alloc(0);
      dialogue.shift();
      socket.write(Buffer.from(next[1]));
    });
  });
  servers.push(server);
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port));
  });
}

const LOGIN = { user: "ui", password: "x" };
const GREETING = [5, 1, 2];
const NAME = [1, 2, 0x75, 0x69, 1, 0x78];
const TARGET = [5, 1, 0, 1, 127, 64, 0, 1, 0, 80];
const REPLY = (code: number) => [5, code, 0, 1, 0, 0, 0, 0, 0, 0];

test("connectSocks() logs in, asks for the address, and gives the connection away", async () => {
  const hello = [...Buffer.from("hello")];
  const port = await proxy([GREETING, [5, 2]], [NAME, [1, 0]], [TARGET, [...REPLY(0), ...hello]]);
  const socket = await connectSocks({ host: "127.0.0.1", port }, LOGIN, "127.64.0.1", 80);
  const first = await new Promise<string>((resolve) => {
    socket.once("data", (bytes) => resolve(bytes.toString())).resume();
  });
  expect(first).toBe("hello");
  socket.destroy();
});

test("connectSocks() says what the proxy did not like", async () => {
  const wrong = await proxy([GREETING, [5, 2]], [NAME, [1, 1]]);
  const connect = (port: number) =>
    connectSocks({ host: "127.0.0.1", port }, LOGIN, "127.64.0.1", 80);
  await expect(connect(wrong)).rejects.toThrow("not accepted");
  const refused = await proxy([GREETING, [5, 2]], [NAME, [1, 0]], [TARGET, REPLY(5)]);
  await expect(connect(refused)).rejects.toThrow("connection refused");
});
