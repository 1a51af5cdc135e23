/**
 * Clients that send a case's request over connections that a mesh dials for them: HTTP/1.1, HTTP/2
 * by prior knowledge, gRPC and TCP. What comes back is a value; nothing is thrown.
 */
import http from "node:http";
import http2 from "node:http2";
import type net from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import type { EchoAnswer, EchoIdentity } from "../../../src/local/echo-answer.ts";

export interface Sent {
  readonly authority: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

export interface Seen {
  /** 0: there was no answer. */
  readonly status: number;
  readonly grpcStatus: number | undefined;
  /** By lower-case name; repeated ones joined with ",". */
  readonly headers: Readonly<Record<string, string>>;
  /** The cookies that were set, `name=value`. */
  readonly cookies: readonly string[];
  /** What the backend says; undefined when a proxy answered. */
  readonly backend: EchoAnswer | undefined;
  /** Why there was no answer. */
  readonly failure: string;
}

export interface TcpSeen {
  readonly backend: (EchoIdentity & { readonly port: number }) | undefined;
  readonly isServerFirst: boolean;
  readonly failure: string;
}

export interface HttpClient {
  send(request: Sent): Promise<Seen>;
  close(): void;
}

type Dial = () => Promise<net.Socket>;

const TIMEOUT_MS = 8_000;
const CONNECTIONS_MAX = 10;
/** For a server that speaks first to do so. */
const SERVER_FIRST_MS = 150;
const EMPTY_MESSAGE = Buffer.alloc(5);

export class Http1Client implements HttpClient {
  readonly #agent: http.Agent;

  constructor(dial: Dial) {
    this.#agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });
    this.#agent.createConnection = (_options, callback) => {
      dial().then(
        (socket) => callback?.(null, socket),
        (error: Error) => callback?.(error, undefined as unknown as Duplex),
      );
      return undefined;
    };
  }

  send({ authority, method, path, headers, body }: Sent): Promise<Seen> {
    return new Promise((resolve) => {
      const request = http.request({
        agent: this.#agent,
        method,
        path,
        headers: { ...headers, host: authority },
        timeout: TIMEOUT_MS,
      });
      request.on("timeout", () => request.destroy(new Error("no answer in time")));
      request.on("error", (error) => resolve(noAnswer(error.message)));
      request.on("response", (response) => {
        const cookies = (response.headers["set-cookie"] ?? []).map(cookieOf);
        const head = joined(response.rawHeaders);
        textOf(response).then(
          (text) => resolve(answered(response.statusCode ?? 0, head, cookies, text)),
          (error: Error) => resolve(noAnswer(error.message)),
        );
      });
      request.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

export class Http2Client implements HttpClient {
  readonly #dial: Dial;
  #session: Promise<http2.ClientHttp2Session> | undefined;

  constructor(dial: Dial) {
    this.#dial = dial;
  }

  async send(request: Sent): Promise<Seen> {
    try {
      return await this.#exchange(await this.#open(), request, false);
    } catch (error) {
      return noAnswer(String(error));
    }
  }

  /** A unary call with an empty message. */
  async call(request: Sent): Promise<Seen> {
    try {
      return await this.#exchange(await this.#open(), request, true);
    } catch (error) {
      return noAnswer(String(error));
    }
  }

  close(): void {
    this.#session?.then(
      (session) => session.destroy(),
      () => {},
    );
  }

  async #open(): Promise<http2.ClientHttp2Session> {
    const session = await this.#session;
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    this.#session = this.#dial().then((socket) => {
      const opened = http2.connect("http://mesh", { createConnection: () => socket });
      opened.on("error", () => {});
      return opened;
    });
    return await this.#session;
  }

  #exchange(session: http2.ClientHttp2Session, sent: Sent, isCall: boolean): Promise<Seen> {
    const lower = Object.entries(sent.headers).map(([name, value]) => [name.toLowerCase(), value]);
    const head = {
      ":method": sent.method,
      ":scheme": "http",
      ":authority": sent.authority,
      ":path": sent.path,
      ...Object.fromEntries(lower),
      ...(isCall ? { "content-type": "application/grpc", te: "trailers" } : {}),
    };
    return new Promise((resolve) => {
      const stream = session.request(head);
      let answer: http2.IncomingHttpHeaders | undefined;
      let raw: readonly string[] = [];
      let trailers: http2.IncomingHttpHeaders = {};
      stream.setTimeout(TIMEOUT_MS, () => stream.close(http2.constants.NGHTTP2_CANCEL));
      stream.on("response", (headers, _flags, rawHeaders: string[]) => {
        answer = headers;
        raw = rawHeaders ?? flat(headers);
      });
      stream.on("trailers", (headers) => {
        trailers = headers;
      });
      let text = "";
      stream.setEncoding("utf8");
      stream.on("data", (more: string) => {
        text += more;
      });
      stream.on("error", () => {});
      stream.on("close", () => {
        if (answer === undefined || stream.rstCode !== 0) {
          resolve(noAnswer(`the stream was reset with code ${stream.rstCode}`));
          return;
        }
        const status = Number(answer[":status"]);
        const cookies = (answer["set-cookie"] ?? []).map(cookieOf);
        const seen = answered(status, joined(raw), cookies, isCall ? "" : text);
        resolve(isCall ? called(seen, { ...answer, ...trailers }) : seen);
      });
      stream.end(isCall ? EMPTY_MESSAGE : sent.body);
    });
  }
}

/** TLS over the connection. Who the server is, is not what is asked. */
export async function secured(
  connecting: Promise<net.Socket>,
  servername: string,
): Promise<net.Socket> {
  const socket = await connecting;
  return await new Promise((resolve, reject) => {
    const inner = tls.connect({ socket, servername, rejectUnauthorized: false });
    inner.once("secureConnect", () => {
      inner.off("error", reject);
      resolve(inner);
    });
    inner.once("error", reject);
    inner.once("close", () => reject(new Error("the connection was closed")));
  });
}

/** Says `whoami` and hears who it is. */
export async function askTcp(
  connecting: Promise<net.Socket>,
  listenMs = SERVER_FIRST_MS,
): Promise<TcpSeen> {
  let socket: net.Socket;
  try {
    socket = await connecting;
  } catch (error) {
    return { backend: undefined, isServerFirst: false, failure: String(error) };
  }
  return await new Promise((resolve) => {
    let text = "";
    let isServerFirst = true;
    const settle = (failure: string) => {
      clearTimeout(timer);
      clearTimeout(speaking);
      socket.destroy();
      const line = text.split("\n")[0] ?? "";
      const backend = line.startsWith("{") ? JSON.parse(line) : undefined;
      resolve({ backend, isServerFirst: isServerFirst && text !== "", failure });
    };
    const timer = setTimeout(() => settle("no answer in time"), TIMEOUT_MS);
    // A server that speaks first has spoken by now.
    const speaking = setTimeout(() => {
      isServerFirst = false;
      socket.write("whoami\n");
    }, listenMs);
    socket.setEncoding("utf8");
    socket.on("data", (more) => {
      text += more;
      if (text.includes("\n")) settle("");
    });
    socket.on("error", (error) => settle(error.message));
    socket.on("end", () => settle("the connection was closed"));
    socket.on("close", () => settle("the connection was closed"));
    socket.resume();
  });
}

function noAnswer(failure: string): Seen {
  return {
    status: 0,
    grpcStatus: undefined,
    headers: {},
    cookies: [],
    backend: undefined,
    failure,
  };
}

function answered(
  status: number,
  headers: Readonly<Record<string, string>>,
  cookies: readonly string[],
  text: string,
): Seen {
  const isEcho = headers["x-served-by"] !== undefined && text.startsWith("{");
  const backend = isEcho ? (JSON.parse(text) as EchoAnswer) : undefined;
  const plain = { status, grpcStatus: undefined, headers, cookies, backend, failure: "" };
  return plain;
}

function called(seen: Seen, trailers: http2.IncomingHttpHeaders): Seen {
  const status = trailers["grpc-status"];
  const echoed = trailers["x-echo-bin"];
  return {
    ...seen,
    grpcStatus: status === undefined ? undefined : Number(status),
    backend:
      echoed === undefined
        ? undefined
        : (JSON.parse(Buffer.from(String(echoed), "base64").toString()) as EchoAnswer),
  };
}

function cookieOf(line: string): string {
  return line.split(";")[0] ?? "";
}

function flat(headers: http2.IncomingHttpHeaders): string[] {
  return Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().flatMap((one) => [name, String(one)]),
  );
}

function joined(raw: readonly string[]): Record<string, string> {
  const values: Record<string, string> = {};
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    const before = values[name];
    values[name] = before === undefined ? String(raw[i + 1]) : `${before},${raw[i + 1]}`;
  }
  return values;
}

function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    stream.setEncoding("utf8");
    stream.on("data", (more) => {
      text += more;
    });
    stream.on("end", () => resolve(text));
    stream.on("error", reject);
    stream.on("close", () => reject(new Error("the answer was cut")));
  });
}
