/** WebSockets in all four pairings of HTTP/1.1 and HTTP/2: RFC 6455 and RFC 8441. */
import http2 from "node:http2";
import { afterEach, describe, expect, test } from "vitest";
import { connect, endClients, serveHttp2, withProtocol } from "../../test/support/inner-http2.ts";
import { settle } from "../../test/support/memory-stream.ts";
import { denyingAll, FakeWaypoint, withRule } from "../../test/support/waypoint-session.ts";
import { acceptFor } from "./web-socket.ts";

/** Machines are busy. */
const poll = <T>(look: () => T) => expect.poll(look, { timeout: 10_000 });

afterEach(endClients);

type Protocol = "HTTP11" | "HTTP2";

/** RFC 6455 §1.3 has the two. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const UPGRADE =
  "GET /chat HTTP/1.1\r\nhost: reviews\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n" +
  `sec-websocket-version: 13\r\nsec-websocket-key: ${KEY}\r\nsec-websocket-protocol: a, b\r\n\r\n`;

const CONNECT = {
  ":method": "CONNECT",
  ":protocol": "websocket",
  ":scheme": "http",
  ":path": "/chat",
  ":authority": "reviews",
  "sec-websocket-version": "13",
  "sec-websocket-protocol": "a, b",
};

/** A client's WebSocket, by whatever way. */
interface Client {
  /** Its status, and the headers by name. */
  readonly answer: Promise<{ status: number; headers: Record<string, unknown> }>;
  send(text: string | Buffer): void;
  end(): void;
  cut(): void;
  readonly received: () => string;
  readonly isEnded: () => boolean;
  readonly isCut: () => boolean;
}

async function openHttp2(waypoint: FakeWaypoint, extra: object = {}): Promise<Client> {
  const session = connect(waypoint);
  await new Promise((resolve) => session.once("remoteSettings", resolve));
  expect(session.remoteSettings.enableConnectProtocol).toBe(true);
  const stream = session.request({ ...CONNECT, ...extra });
  let text = "";
  let isEnded = false;
  stream.on("data", (bytes) => {
    text += bytes.toString("latin1");
  });
  stream.on("end", () => {
    isEnded = true;
  });
  stream.on("error", () => {});
  const answer = new Promise<{ status: number; headers: Record<string, unknown> }>((resolve) => {
    stream.on("response", (headers) => resolve({ status: headers[":status"]!, headers }));
  });
  return {
    answer,
    send: (data) => stream.write(data),
    end: () => stream.end(),
    cut: () => stream.close(http2.constants.NGHTTP2_CANCEL),
    received: () => text,
    isEnded: () => isEnded,
    isCut: () => stream.closed && stream.rstCode !== 0,
  };
}

function openHttp1(waypoint: FakeWaypoint, request = UPGRADE): Client {
  const { client } = waypoint.open();
  client.send(request);
  const headEnd = () => client.text.indexOf("\r\n\r\n");
  const answer = poll(headEnd)
    .toBeGreaterThan(0)
    .then(() => {
      const [first, ...lines] = client.text.slice(0, headEnd()).split("\r\n");
      const pairs = lines.map((line) => line.toLowerCase().split(": ", 1)[0]!);
      const values = lines.map((line) => line.slice(line.indexOf(": ") + 2));
      const headers = Object.fromEntries(pairs.map((name, i) => [name, values[i]]));
      return { status: Number(first!.split(" ")[1]), headers };
    });
  return {
    answer,
    send: (data) => client.send(data),
    end: () => client.stream.end(),
    cut: () => client.stream.reset("cancel"),
    received: () => client.text.slice(headEnd() + 4),
    isEnded: () => client.isEnded,
    isCut: () => client.reset !== undefined,
  };
}

/** A backend that answers each opening, and afterwards each piece with the same in brackets. */
class Backend {
  readonly openings: Record<string, unknown>[] = [];
  received = "";
  isEnded = false;
  isCut = false;
  answer: { status: number; accept?: string } = { status: 0 };
  end: () => void = () => {};
  cut: () => void = () => {};

  constructor(waypoint: FakeWaypoint, protocol: Protocol) {
    if (protocol === "HTTP2") this.#serveHttp2(waypoint);
    else this.#serveHttp1(waypoint);
  }

  #serveHttp2(waypoint: FakeWaypoint): void {
    const server = serveHttp2(waypoint, { settings: { enableConnectProtocol: true } });
    server.on("stream", (stream, headers) => {
      this.openings.push(headers);
      stream.on("error", () => {});
      stream.on("close", () => {
        this.isCut = stream.rstCode !== 0;
      });
      stream.on("end", () => {
        this.isEnded = true;
      });
      const { status } = this.answer;
      if (status !== 0) {
        stream.respond({ ":status": status });
        stream.end("declined");
        return;
      }
      stream.respond({ ":status": 200, "sec-websocket-protocol": "b" });
      stream.on("data", (bytes) => {
        this.received += bytes.toString("latin1");
        stream.write(`[${bytes.toString("latin1")}]`, "latin1");
      });
      this.end = () => stream.end();
      this.cut = () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    });
  }

  #serveHttp1(waypoint: FakeWaypoint): void {
    waypoint.backends.onConnection = (peer) => {
      let isOpen = false;
      let head = "";
      const open = () => {
        const key = /sec-websocket-key: (.*)\r\n/.exec(head)?.[1] ?? "";
        this.openings.push({ head });
        const { status, accept } = this.answer;
        isOpen = status === 0;
        if (!isOpen) {
          peer.send(`HTTP/1.1 ${status} X\r\ncontent-length: 8\r\n\r\ndeclined`);
          return;
        }
        const lines = ["connection: upgrade", "upgrade: websocket", "sec-websocket-protocol: b"];
        lines.push(`sec-websocket-accept: ${accept ?? acceptFor(key)}`);
        peer.send(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`);
      };
      this.end = () => peer.stream.end();
      this.cut = () => peer.stream.reset("internal");
      peer.stream.consumer = {
        onData: (bytes, start, end) => {
          const text = bytes.toString("latin1", start, end);
          peer.stream.credit(end - start);
          if (!isOpen) {
            head += text;
            const at = head.indexOf("\r\n\r\n");
            if (at > 0) setTimeout(open, 10);
            return;
          }
          this.received += text;
          peer.send(Buffer.from(`[${text}]`, "latin1"));
        },
        onEnd: () => {
          this.isEnded = true;
        },
        onClosed: (reset) => {
          this.isCut = reset !== undefined;
        },
      };
    };
  }
}

const PAIRINGS = [
  ["HTTP11", "HTTP11"],
  ["HTTP11", "HTTP2"],
  ["HTTP2", "HTTP11"],
  ["HTTP2", "HTTP2"],
] as const;

async function openAt(waypoint: FakeWaypoint, protocol: Protocol): Promise<Client> {
  return protocol === "HTTP2" ? await openHttp2(waypoint) : openHttp1(waypoint);
}

async function start(from: Protocol, to: Protocol) {
  const waypoint = new FakeWaypoint(withProtocol(to));
  const backend = new Backend(waypoint, to);
  const client = await openAt(waypoint, from);
  return { waypoint, backend, client };
}

describe.each(PAIRINGS)("from %s to %s", (from, to) => {
  test("opened, used and ended", async () => {
    const { waypoint, backend, client } = await start(from, to);
    const { status, headers } = await client.answer;
    expect(status).toBe(from === "HTTP2" ? 200 : 101);
    expect(headers["sec-websocket-protocol"]).toBe("b");
    expect(headers["sec-websocket-accept"]).toBe(from === "HTTP2" ? undefined : ACCEPT);
    expect(headers.upgrade).toBe(from === "HTTP2" ? undefined : "websocket");
    const [opening] = backend.openings;
    if (to === "HTTP2") {
      expect(opening).toMatchObject({ ...CONNECT, "sec-websocket-protocol": "a, b" });
      expect(opening).not.toHaveProperty("content-length");
    } else {
      expect(opening!.head).toMatch(/^GET \/chat HTTP\/1\.1\r\n/);
      expect(opening!.head).toMatch(/\r\nconnection: upgrade\r\nupgrade: websocket\r\n/i);
      expect(opening!.head).toMatch(/\r\nsec-websocket-version: 13\r\n/);
      expect(opening!.head).not.toMatch(/content-length|transfer-encoding/);
    }
    client.send("hello");
    await poll(client.received).toBe("[hello]");
    client.end();
    await poll(() => backend.isEnded).toBe(true);
    backend.end();
    await poll(client.isEnded).toBe(true);
    await settle();
    expect(client.isCut() || backend.isCut).toBe(false);
    const [line] = await waypoint.accessLines();
    const protocol = from === "HTTP2" ? "HTTP/2" : "HTTP/1.1";
    expect(line).toMatch(`GET /chat ${protocol} 101 - via_upstream - 5 7 `);
    expect(waypoint.active).toBe(0);
  });

  test("a megabyte each way", async () => {
    const { waypoint, backend, client } = await start(from, to);
    await client.answer;
    client.send(Buffer.alloc(1 << 20, "x"));
    await poll(() => backend.received.length).toBe(1 << 20);
    await poll(() => client.received().replaceAll(/[[\]]/g, "").length).toBe(1 << 20);
    client.cut();
    await poll(() => backend.isCut).toBe(true);
    await settle();
    expect(waypoint.active).toBe(0);
  });

  test("a backend that cuts cuts the client", async () => {
    const { waypoint, backend, client } = await start(from, to);
    await client.answer;
    backend.cut();
    await poll(client.isCut).toBe(true);
    await settle();
    const details = to === "HTTP2" ? "UR .*{remote_reset}" : "UC .*{connection_termination}";
    expect((await waypoint.accessLines())[0]).toMatch(new RegExp(`101 ${details}`));
    expect(waypoint.active).toBe(0);
  });

  test("declined: an answer like any other", async () => {
    const waypoint = new FakeWaypoint(withProtocol(to));
    const backend = new Backend(waypoint, to);
    backend.answer = { status: 403 };
    const client = await openAt(waypoint, from);
    expect((await client.answer).status).toBe(403);
    await poll(client.received).toContain("declined");
    await settle();
    expect(waypoint.active).toBe(0);
    expect((await waypoint.accessLines())[0]).toMatch("403 - via_upstream");
  });

  test("who may not is refused before anything is dialed", async () => {
    const waypoint = new FakeWaypoint(denyingAll(withProtocol(to)));
    const client = await openAt(waypoint, from);
    expect((await client.answer).status).toBe(403);
    await settle();
    expect(waypoint.backends.dialed).toEqual([]);
  });

  test("routes and policies see a GET", async () => {
    const match = { path: { type: "PathPrefix", value: "/chat" }, method: "GET" } as const;
    const matches = [{ ...match, headers: [], queryParams: [] }];
    const waypoint = new FakeWaypoint(withRule(withProtocol(to), { matches }));
    new Backend(waypoint, to);
    const client = await openAt(waypoint, from);
    expect((await client.answer).status).toBe(from === "HTTP2" ? 200 : 101);
    client.cut();
    await settle();
  });
});

test("what an HTTP/2 client says before its answer reaches the backend behind it", async () => {
  const { backend, client } = await start("HTTP2", "HTTP11");
  client.send("early");
  client.end();
  await client.answer;
  await poll(() => backend.received).toBe("early");
  await poll(() => backend.isEnded).toBe(true);
  backend.end();
  await poll(client.isEnded).toBe(true);
});

test("an HTTP/1.1 backend that proves no key has not understood", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP11"));
  const backend = new Backend(waypoint, "HTTP11");
  backend.answer = { status: 0, accept: ACCEPT };
  const client = await openHttp2(waypoint);
  expect((await client.answer).status).toBe(502);
  await settle();
  expect((await waypoint.accessLines())[0]).toMatch("502 UPE");
});

test("a key that came over HTTP/2 is somebody's: passed on, and its proof back", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP11"));
  new Backend(waypoint, "HTTP11");
  const client = await openHttp2(waypoint, { "sec-websocket-key": KEY });
  expect((await client.answer).headers["sec-websocket-accept"]).toBe(ACCEPT);
  client.cut();
  await settle();
});

test("200 of an HTTP/1.1 backend is no upgrade, and must not look like one", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP11"));
  const backend = new Backend(waypoint, "HTTP11");
  backend.answer = { status: 200 };
  const client = await openHttp2(waypoint);
  expect((await client.answer).status).toBe(502);
});

test("426 that names the protocol is an answer with its body", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP11"));
  waypoint.backends.onConnection = (peer) => {
    const lines = "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n";
    setTimeout(() => peer.send(`HTTP/1.1 426 Upgrade Required\r\n${lines}\r\nold`), 10);
  };
  const client = await openHttp2(waypoint);
  const { status, headers } = await client.answer;
  expect([status, headers["content-length"], headers.upgrade]).toEqual([426, "3", undefined]);
  await poll(client.received).toBe("old");
});

test("an HTTP/2 backend without the setting is not asked: 502", async () => {
  for (const from of ["HTTP11", "HTTP2"] as const) {
    const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
    let streams = 0;
    serveHttp2(waypoint).on("stream", () => streams++);
    const client = await openAt(waypoint, from);
    expect((await client.answer).status).toBe(502);
    expect(streams).toBe(0);
    await settle();
    expect((await waypoint.accessLines())[0]).toMatch("502 UPE upgrade_failed");
    expect(waypoint.active).toBe(0);
  }
});

test("a backend that ends before it says what it can: 503", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  waypoint.backends.onConnection = (peer) => setTimeout(() => peer.stream.reset("cancel"), 10);
  const client = openHttp1(waypoint);
  expect((await client.answer).status).toBe(503);
  expect(waypoint.active).toBe(0);
});

test("many at once share a connection", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  new Backend(waypoint, "HTTP2");
  const clients = await Promise.all(Array.from({ length: 20 }, () => openHttp2(waypoint)));
  for (const client of clients) expect((await client.answer).status).toBe(200);
  expect(waypoint.backends.connections).toHaveLength(1);
  for (const client of clients) client.cut();
  await settle();
  expect(waypoint.active).toBe(0);
});

test.each(["connect-udp", "webtransport"])(":protocol %s is not implemented", async (protocol) => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  const client = await openHttp2(waypoint, { ":protocol": protocol });
  expect((await client.answer).status).toBe(501);
  await settle();
  expect((await waypoint.accessLines())[0]).toMatch("501 - upgrade_failed");
});

test("acceptFor() is RFC 6455's", () => {
  expect(acceptFor(KEY)).toBe(ACCEPT);
});
