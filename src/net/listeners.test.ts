import net from "node:net";
import { afterEach, expect, test, vi } from "vitest";
import { AddressPlan } from "../local/addresses.ts";
import { type ListenerProblem, Listeners, type WantedListener } from "./listeners.ts";
import { portOwner } from "./port-owner.ts";

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
});

function makeListeners(): { listeners: Listeners; problems: ListenerProblem[] } {
  const problems: ListenerProblem[] = [];
  // In "ports" mode every wanted port gets a free one, so tests cannot collide.
  const listeners = new Listeners(new AddressPlan("ports"), (problem) => problems.push(problem));
  open.push(listeners);
  return { listeners, problems };
}

function wanted(address: string, port: number, text: string): WantedListener {
  return { address, port, purpose: `service default/${text}`, accept: (s) => void s.end(text) };
}

function read(where: { host: string; port: number } | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    if (where === undefined) return reject(new Error("not listened on"));
    let text = "";
    const socket = net.connect(where.port, where.host);
    socket.on("data", (more) => {
      text += more.toString();
    });
    socket.once("end", () => resolve(text));
    socket.once("error", reject);
  });
}

test("sync() opens what is new, keeps what stays and closes what goes", async () => {
  const { listeners, problems } = makeListeners();
  await listeners.sync([wanted("127.64.0.1", 80, "a"), wanted("127.64.0.2", 80, "b")]);
  const first = listeners.where("127.64.0.1", 80);
  expect(await read(first)).toBe("a");
  expect(await read(listeners.where("127.64.0.2", 80))).toBe("b");
  const gone = listeners.where("127.64.0.2", 80);
  await listeners.sync([wanted("127.64.0.1", 80, "a again"), wanted("127.64.0.3", 81, "c")]);
  expect(listeners.where("127.64.0.1", 80)).toEqual(first);
  expect(await read(first)).toBe("a again");
  expect(await read(listeners.where("127.64.0.3", 81))).toBe("c");
  expect(listeners.where("127.64.0.2", 80)).toBeUndefined();
  await expect(read(gone)).rejects.toThrow("ECONNREFUSED");
  expect(listeners.size).toBe(2);
  expect(problems).toEqual([]);
});

test("sync() reports a port in use with its owner, serves the rest, and tries again", async () => {
  const blocker = net.createServer();
  const port = await new Promise<number>((resolve) => {
    blocker.listen(0, "127.0.0.1", () => resolve((blocker.address() as net.AddressInfo).port));
  });
  open.push({ destroy: () => blocker.close() });
  const problems: ListenerProblem[] = [];
  const plan = new AddressPlan("addresses");
  const listeners = new Listeners(plan, (problem) => problems.push(problem));
  open.push(listeners);
  const ports = [wanted("127.0.0.1", port, "a")];
  await listeners.sync(ports);
  await listeners.sync(ports);
  expect(problems).toHaveLength(1);
  expect(problems[0]!.message).toContain(`127.0.0.1:${port} for service default/a is in use`);
  if (process.platform === "linux") {
    expect(problems[0]!.message).toContain(`(pid ${process.pid})`);
    expect(await portOwner("127.0.0.1", port)).toContain(`(pid ${process.pid})`);
  }
  await new Promise((resolve) => blocker.close(resolve));
  await listeners.sync(ports);
  expect(listeners.problems).toEqual([]);
  expect(await read(listeners.where("127.0.0.1", port))).toBe("a");
});

test("a port that becomes free is opened without being asked for again", async () => {
  const blocker = net.createServer();
  const port = await new Promise<number>((resolve) => {
    blocker.listen(0, "127.0.0.1", () => resolve((blocker.address() as net.AddressInfo).port));
  });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const listeners = new Listeners(new AddressPlan("addresses"), () => {});
    open.push(listeners);
    await listeners.sync([wanted("127.0.0.1", port, "a")]);
    expect(listeners.problems).toHaveLength(1);
    await new Promise((resolve) => blocker.close(resolve));
    vi.advanceTimersByTime(5_000);
    vi.useRealTimers();
    await expect.poll(() => listeners.size).toBe(1);
    expect(await read(listeners.where("127.0.0.1", port))).toBe("a");
  } finally {
    vi.useRealTimers();
  }
});

test("after drain() nothing is opened any more", async () => {
  const { listeners } = makeListeners();
  await listeners.sync([wanted("127.64.0.1", 80, "a")]);
  await listeners.drain();
  await listeners.sync([wanted("127.64.0.1", 80, "a")]);
  expect(listeners.size).toBe(0);
});
