import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { Failure } from "../kit/failure.ts";
import { acceptSocks5, type Socks5Request } from "./socks5.ts";

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

type Outcome = Socks5Request | Failure;

/** A client's socket, what it received, and what became of it at the server. */
async function connectClient(timeoutMs = 2000) {
  let settle: (outcome: Outcome) => void;
  const outcome = new Promise<Outcome>((resolve) => {
    settle = resolve;
  });
  const listener = net.createServer((socket) => {
    cleanups.push(() => socket.destroy());
    acceptSocks5(socket, {
      timeoutMs,
      authenticate: (user, password) => user === "reviews-v1" && password === "secret",
      onRequest: settle,
      onFailed: settle,
    });
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  cleanups.push(() => listener.close());
  const client = net.connect((listener.address() as net.AddressInfo).port, "127.0.0.1");
  cleanups.push(() => client.destroy());
  const received: Buffer[] = [];
  client.on("data", (bytes) => received.push(bytes));
  client.on("error", () => {});
  client.setNoDelay(true);
  await once(client, "connect");
  return { client, received: () => Buffer.concat(received), outcome };
}

const GREETING = Buffer.from([5, 2, 0, 2]);
const LOGIN = credentials("reviews-v1", "secret");
const NAME = "Ratings.default.svc.cluster.local";

function credentials(user: string, password: string): Buffer {
  return Buffer.concat([
    Buffer.from([1, user.length]),
    Buffer.from(user),
    Buffer.from([password.length]),
    Buffer.from(password),
  ]);
}

function request(kind: number, address: Buffer, port: number, command = 1): Buffer {
  const head = Buffer.from([5, command, 0, kind]);
  return Buffer.concat([head, address, Buffer.from([port >> 8, port & 0xff])]);
}

function named(name: string, port = 9080, command = 1): Buffer {
  return request(3, Buffer.concat([Buffer.from([name.length]), Buffer.from(name)]), port, command);
}

function requestOf(outcome: Outcome): Socks5Request {
  if (outcome instanceof Error) throw outcome;
  return outcome;
}

const YES = Buffer.from([5, 2, 1, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);

describe("acceptSocks5()", () => {
  test("reads who the client is and where it wants to go, and hands the socket over", async () => {
    const { client, outcome, received } = await connectClient();
    const early = Buffer.from("GET / HTTP/1.1\r\n");
    client.write(Buffer.concat([GREETING, LOGIN, named(NAME), early]));
    const wish = requestOf(await outcome);
    expect(wish).toMatchObject({ user: "reviews-v1", password: "secret", port: 9080 });
    expect(wish.host).toBe("ratings.default.svc.cluster.local");
    expect(wish.rest.toString()).toBe("GET / HTTP/1.1\r\n");
    const socket = wish.accept();
    await expect.poll(() => received().toString("hex")).toBe(YES.toString("hex"));
    expect(socket.listenerCount("data")).toBe(0);
    expect(socket.isPaused()).toBe(true);
    client.write("more");
    socket.resume();
    expect(String((await once(socket, "data"))[0])).toBe("more");
  });

  test("reads addresses of both families", async () => {
    const addresses: readonly (readonly [number, string, string])[] = [
      [1, "7f400102", "127.64.1.2"],
      [4, "00000000000000000000000000000001", "::1"],
      [4, "00000000000000000000000000000000", "::"],
      [4, "20010db8000000000001000000000001", "2001:db8::1:0:0:1"],
      [4, "20010db8000000010000000000000000", "2001:db8:0:1::"],
      [4, "00010000000300040005000600070008", "1:0:3:4:5:6:7:8"],
      [4, "fd00000100020003000400050006abcd", "fd00:1:2:3:4:5:6:abcd"],
      [4, "00000000000000000000ffff0a000001", "10.0.0.1"],
    ];
    for (const [kind, hex, host] of addresses) {
      const { client, outcome } = await connectClient();
      client.write(Buffer.concat([GREETING, LOGIN, request(kind, Buffer.from(hex, "hex"), 65535)]));
      const wish = requestOf(await outcome);
      expect(wish.host).toBe(host);
      expect(net.isIP(wish.host)).not.toBe(0);
      expect(wish.port).toBe(65535);
      wish.refuse("generalFailure");
    }
  });

  test("reads the same however the bytes are cut", async () => {
    const whole = Buffer.concat([GREETING, LOGIN, named(NAME), Buffer.from("rest")]);
    for (let cut = 1; cut < whole.length; cut++) {
      const { client, outcome } = await connectClient();
      client.write(whole.subarray(0, cut));
      await new Promise((resolve) => setTimeout(resolve, 1));
      client.write(whole.subarray(cut));
      const wish = requestOf(await outcome);
      expect(wish.host).toBe(NAME.toLowerCase());
      expect("rest".startsWith(wish.rest.toString())).toBe(true);
      wish.accept();
    }
    const { client, outcome } = await connectClient();
    for (const octet of Buffer.concat([GREETING, LOGIN, named(NAME)])) {
      client.write(Buffer.from([octet]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(requestOf(await outcome).port).toBe(9080);
  });

  test("refuses in the words of RFC 1928 and closes", async () => {
    const { client, outcome, received } = await connectClient();
    client.write(Buffer.concat([GREETING, LOGIN, named(NAME)]));
    requestOf(await outcome).refuse("connectionRefused");
    await once(client, "end");
    expect(received().subarray(4).toString("hex")).toBe("05050001000000000000");
  });

  test("wants a user name and a password, and the right ones", async () => {
    const anonymous = await connectClient();
    anonymous.client.write(Buffer.from([5, 1, 0]));
    expect(await anonymous.outcome).toMatchObject({ code: "SOCKS5_REFUSED" });
    await once(anonymous.client, "end");
    expect(anonymous.received().toString("hex")).toBe("05ff");
    for (const login of [credentials("reviews-v1", "wrong"), credentials("", "")]) {
      const { client, outcome, received } = await connectClient();
      client.write(Buffer.concat([GREETING, login, named(NAME)]));
      const failure = (await outcome) as Failure;
      expect(failure).toMatchObject({ code: "SOCKS5_REFUSED" });
      expect(failure.message).not.toContain('wrong"');
      await once(client, "end");
      expect(received().toString("hex")).toBe("05020101");
    }
  });

  test("refuses what is malformed", async () => {
    const opening = Buffer.concat([GREETING, LOGIN]);
    const cases: readonly (readonly [string, Buffer, string | undefined])[] = [
      ["SOCKS 4", Buffer.from([4, 1, 0, 80, 127, 0, 0, 1, 0]), undefined],
      ["HTTP", Buffer.from("CONNECT a:1 HTTP/1.1\r\n\r\n"), undefined],
      ["authentication version", Buffer.concat([GREETING, Buffer.from([2, 0, 0])]), undefined],
      ["request version", Buffer.concat([opening, Buffer.from([4, 1, 0, 1, 0])]), undefined],
      ["BIND", Buffer.concat([opening, named(NAME, 80, 2)]), "0507"],
      ["UDP ASSOCIATE", Buffer.concat([opening, named(NAME, 80, 3)]), "0507"],
      ["address type", Buffer.concat([opening, request(2, Buffer.alloc(4), 80)]), "0508"],
      ["port 0", Buffer.concat([opening, named(NAME, 0)]), "0501"],
      ["an empty name", Buffer.concat([opening, named("")]), "0501"],
      ["a NUL in the name", Buffer.concat([opening, named("a\0b")]), "0501"],
      ["a line break in the name", Buffer.concat([opening, named("a\r\nb")]), "0501"],
      ["a colon in the name", Buffer.concat([opening, named("a:80")]), "0501"],
    ];
    for (const [what, bytes, reply] of cases) {
      const { client, outcome, received } = await connectClient();
      client.write(bytes);
      expect(await outcome, what).toMatchObject({ code: "SOCKS5_REFUSED" });
      if (!client.destroyed) await new Promise((resolve) => client.once("close", resolve));
      const answer = received().subarray(4).toString("hex");
      if (reply !== undefined) expect(answer, what).toBe(`${reply}0001000000000000`);
    }
  });

  test("does not wait for ever, nor for one who left", async () => {
    const slow = await connectClient(40);
    slow.client.write(GREETING);
    expect(await slow.outcome).toMatchObject({ code: "TIMEOUT" });
    const ended = await connectClient();
    ended.client.end(GREETING);
    expect(await ended.outcome).toMatchObject({ code: "DOWNSTREAM_RESET" });
    const reset = await connectClient();
    reset.client.resetAndDestroy();
    expect(await reset.outcome).toMatchObject({ code: "DOWNSTREAM_RESET" });
  });
});
