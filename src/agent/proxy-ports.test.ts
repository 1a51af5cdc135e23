import net from "node:net";
import { afterEach, expect, test } from "vitest";
import { AdminServer } from "./admin-server.ts";
import { listenAdmin, SocksPort } from "./proxy-ports.ts";

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
});

function blockPort(): Promise<number> {
  const blocker = net.createServer();
  open.push({ destroy: () => blocker.close() });
  return new Promise((resolve) => {
    blocker.listen(0, "127.0.0.1", () => resolve((blocker.address() as net.AddressInfo).port));
  });
}

function makeAdmin(): AdminServer {
  const server = new AdminServer({ name: "admin" });
  open.push(server);
  return server;
}

function makeSocks(): SocksPort {
  const socks = new SocksPort((socket) => socket.end("hello"));
  open.push(socks);
  return socks;
}

test("a usual port that is taken is replaced by a free one", async () => {
  const taken = await blockPort();
  const admin = await listenAdmin(makeAdmin(), taken, undefined);
  expect(admin.port).not.toBe(taken);
  expect(admin.port).toBeGreaterThan(0);
  expect((await makeSocks().listen(taken, undefined)).port).not.toBe(taken);
});

test("a port that was asked for and is taken is an error that names its owner", async () => {
  const taken = await blockPort();
  const owner = process.platform === "linux" ? `(pid ${process.pid})` : "in use";
  await expect(listenAdmin(makeAdmin(), 1, taken)).rejects.toThrow(owner);
  await expect(makeSocks().listen(1, taken)).rejects.toMatchObject({
    code: "PORT_IN_USE",
    message: expect.stringContaining(owner),
  });
});

test("SocksPort hands over what connects", async () => {
  const { host, port } = await makeSocks().listen(0, undefined);
  const text = await new Promise<string>((resolve) => {
    net.connect(port, host).once("data", (bytes) => resolve(bytes.toString()));
  });
  expect(text).toBe("hello");
});
