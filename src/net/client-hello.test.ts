import { Duplex } from "node:stream";
import { connect } from "node:tls";
import { expect, test } from "vitest";
import { ClientHelloReader } from "./client-hello.ts";

function readClientHello(bytes: Buffer) {
  return new ClientHelloReader().read(bytes);
}

/** What Node's client says first. */
async function helloOf(servername: string | undefined): Promise<Buffer> {
  return await new Promise((resolve) => {
    const socket = new Duplex({
      read() {},
      write(bytes: Buffer) {
        resolve(Buffer.from(bytes));
        setImmediate(() => client.destroy());
      },
    });
    const client = connect({ socket, ...(servername === undefined ? {} : { servername }) });
    client.on("error", () => {});
  });
}

/** The handshake's bytes in records of that length. */
function recorded(hello: Buffer, recordBytes: number): Buffer {
  const message = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += recordBytes) {
    const part = message.subarray(at, at + recordBytes);
    records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 0xff]), part);
  }
  return Buffer.concat(records);
}

/** A hello with these extensions, each a type and a value. */
function helloWith(extensions: readonly (readonly [number, Buffer])[]): Buffer {
  const u16 = (n: number) => Buffer.from([n >> 8, n & 0xff]);
  const list = Buffer.concat(
    extensions.flatMap(([type, value]) => [u16(type), u16(value.length), value]),
  );
  const body = Buffer.concat([
    Buffer.alloc(34, 3),
    Buffer.from([0, 0, 2, 0x13, 0x01, 1, 0]),
    u16(list.length),
    list,
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), u16(body.length), body]);
  return Buffer.concat([Buffer.from([22, 3, 1]), u16(message.length), message]);
}

function name(text: string, type = 0): readonly [number, Buffer] {
  const bytes = Buffer.from(text, "latin1");
  const length = bytes.length;
  return [0, Buffer.from([0, length + 3, type, 0, length, ...bytes])];
}

test("a real client's server name, however its hello is cut", async () => {
  const hello = await helloOf("Shop.Example.com");
  const expected = { kind: "hello", serverName: "shop.example.com" };
  expect(readClientHello(hello)).toEqual(expected);
  for (const recordBytes of [1, 3, 100]) {
    const bytes = recorded(hello, recordBytes);
    expect(readClientHello(bytes)).toEqual(expected);
    const reader = new ClientHelloReader();
    for (let end = 0; end < bytes.length; end += 7) {
      expect(readClientHello(bytes.subarray(0, end))).toBeUndefined();
      expect(reader.read(bytes.subarray(0, end))).toBeUndefined();
    }
    expect(reader.read(bytes)).toEqual(expected);
  }
  const more = Buffer.concat([hello, Buffer.from("what comes behind it")]);
  expect(readClientHello(more)).toEqual(expected);
});

test("a client that names none", async () => {
  const expected = { kind: "hello", serverName: undefined };
  expect(readClientHello(await helloOf(undefined))).toEqual(expected);
  expect(readClientHello(helloWith([[0x1a1a, Buffer.alloc(0)]]))).toEqual(expected);
});

test("extensions that nobody knows do not matter", () => {
  const hello = helloWith([
    [0x0a0a, Buffer.from("?")],
    name("a.example"),
    [0x2a2a, Buffer.alloc(1)],
  ]);
  expect(readClientHello(hello)).toEqual({ kind: "hello", serverName: "a.example" });
});

test.each([
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n")],
  ["an alert", Buffer.from([21, 3, 1, 0, 2, 2, 40])],
  ["an empty record", Buffer.from([22, 3, 1, 0, 0])],
  ["a record longer than allowed", Buffer.from([22, 3, 1, 0xff, 0xff])],
  ["another message", Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])],
  ["a message longer than any client's", Buffer.from([22, 3, 1, 0, 4, 1, 0x10, 0, 0])],
  ["no cipher suites", Buffer.from([22, 3, 1, 0, 4, 1, 0, 0, 0])],
  ["two names", helloWith([name("a.example"), name("b.example")])],
  ["a name of another type", helloWith([name("a.example", 1)])],
  ["an empty name", helloWith([name("")])],
  ["a name that is none", helloWith([name("a b")])],
  ["a name with a NUL", helloWith([name("a.example\0.b")])],
  ["an extension longer than the list", helloWith([[0, Buffer.from([0, 200, 0])]])],
])("%s is malformed", (_, bytes) => {
  expect(readClientHello(bytes)).toEqual({ kind: "malformed" });
});

test("a hello in pieces of a byte costs its length, not its square", () => {
  const message = Buffer.alloc(20_000);
  message.writeUInt32BE(0x01_00_ff_00);
  const bytes = recorded(Buffer.concat([Buffer.alloc(5), message]), 1);
  const reader = new ClientHelloReader();
  const startMs = performance.now();
  for (let end = 1; end <= bytes.length; end++) {
    if (reader.read(bytes.subarray(0, end)) !== undefined) expect(end).toBe(-1);
  }
  expect(performance.now() - startMs).toBeLessThan(5_000);
});
