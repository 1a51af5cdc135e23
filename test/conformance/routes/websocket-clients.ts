/**
 * WebSockets over connections that a mesh dials: by an upgrade of HTTP/1.1 (RFC 6455), and by
 * HTTP/2's extended CONNECT (RFC 8441). One question is asked, and its answer heard.
 */
import { randomBytes } from "node:crypto";
import http2 from "node:http2";
import type net from "node:net";
import type { Duplex } from "node:stream";
import type { EchoAnswer } from "../../../src/local/echo-answer.ts";
import type { HttpClient, Seen, Sent } from "./clients.ts";

type Dial = () => Promise<net.Socket>;

const TIMEOUT_MS = 5_000;
const TEXT = 0x81;
const MASKED = 0x80;
const LENGTH_16 = 126;
const SWITCHING_PROTOCOLS = 101;
const OK = 200;

interface Opened {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined: the answer was no. */
  readonly stream: Duplex | undefined;
}

type Open = (socket: net.Socket, sent: Sent) => Promise<Opened>;

/** What an h2 client was told is shown as what an h1 client would have been: 101. */
export function webSocketClient(dial: Dial, version: "h1" | "h2"): HttpClient {
  const open: Open = version === "h1" ? upgrade : connect;
  let socket: net.Socket | undefined;
  return {
    send: async (sent) => {
      const nothing = { grpcStatus: undefined, cookies: [], headers: {}, backend: undefined };
      try {
        socket = await dial();
        const { status, headers, stream } = await inTime(open(socket, sent));
        const backend = stream && (await inTime(ask(stream)));
        return { ...nothing, status, headers, backend, failure: "" } satisfies Seen;
      } catch (error) {
        return { ...nothing, status: 0, failure: String(error) };
      }
    },
    close: () => socket?.destroy(),
  };
}

function upgrade(socket: net.Socket, { path, authority, headers }: Sent): Promise<Opened> {
  const lines = {
    ...headers,
    host: authority,
    upgrade: "websocket",
    connection: "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": randomBytes(16).toString("base64"),
  };
  const head = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET ${path} HTTP/1.1\r\n${head.join("")}\r\n`);
  return new Promise((resolve, reject) => {
    let text = "";
    const onData = (bytes: Buffer) => {
      text += bytes.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) return;
      socket.off("data", onData).off("end", onEnd).pause();
      const [first = "", ...rest] = text.slice(0, end).split("\r\n");
      const status = Number(first.split(" ")[1]);
      if (text.length > end + 4) socket.unshift(Buffer.from(text.slice(end + 4), "latin1"));
      const stream = status === SWITCHING_PROTOCOLS ? socket : undefined;
      resolve({ status, headers: fieldsOf(rest), stream });
    };
    const onEnd = () => reject(new Error("the connection was closed"));
    socket.on("data", onData).on("end", onEnd).on("error", reject);
    socket.resume();
  });
}

function connect(socket: net.Socket, { path, authority, headers }: Sent): Promise<Opened> {
  const session = http2.connect("http://mesh", { createConnection: () => socket });
  return new Promise((resolve, reject) => {
    session.on("error", reject);
    session.once("remoteSettings", (settings) => {
      if (settings.enableConnectProtocol !== true) {
        reject(new Error("no extended CONNECT is offered"));
        return;
      }
      const stream = session.request({
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":authority": authority,
        ":path": path,
        "sec-websocket-version": "13",
        ...headers,
      });
      stream.on("error", reject);
      stream.on("response", (answer) => {
        const status = Number(answer[":status"]);
        const fields = Object.entries(answer).map(([name, value]) => `${name}: ${value}`);
        const isOpen = status === OK;
        resolve({
          status: isOpen ? SWITCHING_PROTOCOLS : status,
          headers: fieldsOf(fields.filter((field) => !field.startsWith(":"))),
          stream: isOpen ? stream : undefined,
        });
      });
    });
  });
}

function fieldsOf(lines: readonly string[]): Readonly<Record<string, string>> {
  const fields = lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  return Object.fromEntries(fields);
}

/** Says `whoami` in one frame, and reads one. */
function ask(stream: Duplex): Promise<EchoAnswer> {
  const mask = randomBytes(4);
  const question = Buffer.from("whoami").map((byte, i) => byte ^ mask[i & 3]!);
  stream.write(Buffer.concat([Buffer.from([TEXT, MASKED | question.length]), mask, question]));
  return new Promise((resolve, reject) => {
    let held = Buffer.alloc(0);
    stream.on("data", (bytes: Buffer) => {
      held = Buffer.concat([held, bytes]);
      if (held.length < 4) return;
      const short = held[1]!;
      const start = short === LENGTH_16 ? 4 : 2;
      const length = short === LENGTH_16 ? held.readUInt16BE(2) : short;
      if (held.length < start + length) return;
      resolve(JSON.parse(held.subarray(start, start + length).toString()) as EchoAnswer);
    });
    stream.on("end", () => reject(new Error("the WebSocket was closed")));
    stream.on("error", reject);
    stream.resume();
  });
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("no answer in time")), TIMEOUT_MS);
  });
  return await Promise.race([work, late]).finally(() => clearTimeout(timer));
}
