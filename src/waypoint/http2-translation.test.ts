/** What passes between HTTP/2 and HTTP/1.1 in all four pairings, and what ends what. */
import http2 from "node:http2";
import { afterEach, describe, expect, test } from "vitest";
import {
  ask,
  connect,
  endClients,
  serveHttp2,
  withProtocol,
} from "../../test/support/inner-http2.ts";
import { type MemoryPeer, MemoryStream, settle } from "../../test/support/memory-stream.ts";
import { FakeWaypoint } from "../../test/support/waypoint-session.ts";
import { Http2Connection } from "../net/http2/connection.ts";
import { INNER_LIMITS } from "../net/http2/limits.ts";
import type { Http2Stream } from "../net/http2/stream.ts";
import { StreamTransport } from "../net/http2/stream-transport.ts";
import { Http2Session } from "./http2-session.ts";

afterEach(endClients);

const GRPC = {
  ":method": "POST",
  ":path": "/a.B/C",
  "content-type": "application/grpc",
  te: "trailers",
};

test("a gRPC answer that is trailers only arrives as such", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  serveHttp2(waypoint).on("stream", (stream) => {
    stream.respond({ ":status": 200, "grpc-status": "5" }, { endStream: true });
  });
  const seen = await new Promise((resolve) => {
    const request = connect(waypoint).request({ ":authority": "reviews", ...GRPC });
    // END_STREAM on the head itself, and not on an empty frame behind it.
    request.on("response", (headers, flags) => resolve([headers["grpc-status"], flags & 1]));
    request.end("x");
  });
  expect(seen).toEqual(["5", 1]);
  await settle();
  expect(waypoint.metrics()).toMatch(/request_protocol="grpc".*grpc_response_status="5"/);
  expect(waypoint.active).toBe(0);
});

describe.each(["HTTP11", "HTTP2"] as const)("h2 to %s", (protocol) => {
  /** A backend that answers with this status and no body. */
  function serve(waypoint: FakeWaypoint, status: number): void {
    if (protocol === "HTTP2") {
      serveHttp2(waypoint).on("stream", (stream) => {
        const length = status === 200 ? { "content-length": "7" } : {};
        stream.respond({ ":status": status, ...length }, { endStream: true });
      });
      return;
    }
    waypoint.backends.onConnection = (peer) => {
      const length = status === 200 ? "content-length: 7\r\n" : "";
      setTimeout(() => peer.send(`HTTP/1.1 ${status} X\r\n${length}\r\n`), 20);
    };
  }

  test.each([
    ["HEAD", 200, "7"],
    ["GET", 204, undefined],
    ["GET", 304, undefined],
  ])("%s answered %d has no body", async (method, status, length) => {
    const waypoint = new FakeWaypoint(withProtocol(protocol));
    serve(waypoint, status);
    const { headers, body } = await ask(connect(waypoint), { ":method": method, ":path": "/" });
    expect(headers[":status"]).toBe(status);
    expect(headers["content-length"]).toBe(length);
    expect(body).toBe("");
    await settle();
    expect(waypoint.active).toBe(0);
  });
});

test.each([
  ["h2", "HTTP2"],
  ["h2", "HTTP11"],
  ["h1", "HTTP2"],
  ["h1", "HTTP11"],
] as const)("Expect: 100-continue, %s to %s", async (down, protocol) => {
  const waypoint = new FakeWaypoint(withProtocol(protocol));
  let got = "";
  if (protocol === "HTTP2") {
    const server = serveHttp2(waypoint);
    server.on("stream", (stream, headers) => {
      expect(headers.expect).toBe("100-continue");
      stream.additionalHeaders({ ":status": 100 });
      stream.on("data", (bytes) => {
        got += bytes;
      });
      stream.on("end", () => stream.respond({ ":status": 200 }, { endStream: true }));
    });
  } else {
    waypoint.backends.onConnection = (peer) => {
      const onData = peer.onData.bind(peer);
      peer.onData = (bytes, start, end) => {
        if (peer.text === "") peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        onData(bytes, start, end);
        if (!peer.text.includes("hello")) return;
        got = "hello";
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
      };
    };
  }
  if (down === "h2") {
    const request = connect(waypoint).request({
      ...{ ":authority": "reviews", ":method": "POST", ":path": "/", expect: "100-continue" },
    });
    const status = new Promise((resolve) => {
      request.on("response", (headers) => resolve(headers[":status"]));
    });
    await new Promise<void>((resolve) => request.on("continue", resolve));
    request.end("hello");
    expect(await status).toBe(200);
  } else {
    const { client } = waypoint.open();
    client.send(
      "POST / HTTP/1.1\r\nhost: reviews\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    );
    await expect.poll(() => client.text).toMatch(/^HTTP\/1\.1 100 /);
    client.send("hello");
    await expect.poll(() => client.text).toMatch(/HTTP\/1\.1 200 OK/);
  }
  expect(got).toBe("hello");
});

test("streams that a leaving backend refuses are sent again, with their bodies", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  let streams = 0;
  serveHttp2(waypoint).on("stream", (stream) => {
    const session = stream.session!;
    let body = "";
    stream.on("error", () => {});
    stream.on("data", (bytes) => {
      body += bytes;
    });
    stream.on("end", () => {
      // The third stream of each connection, and what comes behind it, is not looked at.
      if (stream.id! > 5) return;
      if (++streams % 3 === 0) session.goaway(0, 5);
      stream.respond({ ":status": 200 });
      stream.end(body);
    });
  });
  const client = connect(waypoint);
  const bodies = Array.from({ length: 9 }, (_, i) => `body ${i}`);
  const answers = await Promise.all(bodies.map((body) => ask(client, GRPC, body)));
  expect(answers.map(({ body }) => body)).toEqual(bodies);
  expect(waypoint.backends.connections.length).toBeGreaterThan(2);
  expect(waypoint.active).toBe(0);
});

test("an early answer: the rest of the request is told to stop, without an error", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  serveHttp2(waypoint).on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 413 }, { endStream: true });
  });
  const request = connect(waypoint).request({ ":authority": "reviews", ":method": "POST" });
  request.on("error", () => {});
  request.write("a beginning");
  const status = await new Promise((resolve) => {
    request.on("response", (headers) => resolve(headers[":status"]));
  });
  expect(status).toBe(413);
  await expect.poll(() => request.rstCode).toBe(http2.constants.NGHTTP2_NO_ERROR);
  await expect.poll(() => request.closed).toBe(true);
  expect(waypoint.active).toBe(0);
});

test("a backend that resets in mid-answer resets the client's stream", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  serveHttp2(waypoint).on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    stream.write("half");
    setTimeout(() => stream.destroy(new Error("broken")), 10);
  });
  const request = connect(waypoint).request({ ":authority": "reviews", ":path": "/" });
  request.on("error", () => {});
  request.resume();
  await expect.poll(() => request.rstCode).toBe(http2.constants.NGHTTP2_INTERNAL_ERROR);
  const [line] = await waypoint.accessLines();
  expect(line).toContain("200 UR upstream_reset_after_response_started{remote_reset}");
});

test.each(["HTTP11", "HTTP2"] as const)(
  "an exchange that is complete is logged as such, and not as a client's going (h2 to %s)",
  async (protocol) => {
    const waypoint = new FakeWaypoint(withProtocol(protocol));
    if (protocol === "HTTP2") {
      serveHttp2(waypoint).on("stream", (stream) => {
        stream.respond({ ":status": 200 });
        stream.end("whole");
      });
    } else {
      const head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\n";
      waypoint.backends.onConnection = (peer) => setTimeout(() => peer.send(`${head}whole`), 20);
    }
    const client = connect(waypoint);
    for (const path of ["/one", "/two"]) {
      expect((await ask(client, { ":method": "GET", ":path": path })).body).toBe("whole");
      await settle();
    }
    client.destroy();
    await settle();
    const lines = await waypoint.accessLines();
    expect(lines.length).toBe(2);
    for (const line of lines) expect(line).toMatch(/ 200 - via_upstream - /);
    expect(waypoint.metrics()).not.toContain('response_flags="DC"');
  },
);

/** A client that sends lists no library would. */
function rawClient(waypoint: FakeWaypoint) {
  const [stream, remote] = MemoryStream.pair();
  new Http2Session(stream, waypoint.connection, waypoint.context, waypoint.target());
  return new Promise<(list: string[], body?: string) => Promise<string>>((resolve) => {
    const send = (list: string[], body = "") =>
      new Promise<string>((answer) => {
        let status = "";
        const request: Http2Stream = connection.open(list, body === "", {
          onHeaders: (headers) => {
            status = headers[1]!;
          },
        });
        request.consumer = {
          onData: (_bytes, start, end) => request.credit(end - start),
          onEnd: () => answer(status),
          onClosed: (reset) => answer(reset?.detail ?? status),
        };
        if (body === "") return;
        request.write(Buffer.from(body), 0, body.length, null);
        request.end();
      });
    const connection: Http2Connection = new Http2Connection(
      new StreamTransport(remote),
      "client",
      { onReady: () => resolve(send), onClosed() {} },
      INNER_LIMITS,
    );
  });
}

const HEAD = [":method", "GET", ":scheme", "http", ":path", "/a", ":authority", "reviews"];
const without = (name: string) => {
  const at = HEAD.indexOf(name);
  return [...HEAD.slice(0, at), ...HEAD.slice(at + 2)];
};
const replaced = (name: string, value: string) =>
  HEAD.map((text, i) => (HEAD[i - 1] === name ? value : text));

/** RFC 9113 §8.2, §8.3, §10.3: none of them may reach an HTTP/1.1 server in whatever form. */
test.each<[string, string[], string?]>([
  ["a space in a name", [...HEAD, "x a", "b"]],
  ["a colon in a name", [...HEAD, "x:a", "b"]],
  ["a line break in a name", [...HEAD, "x\r\nhost", "b"]],
  ["upper case", [...HEAD, "X-A", "b"]],
  ["an empty name", [...HEAD, "", "b"]],
  ["a control character in a value", [...HEAD, "x-a", "b\x01c"]],
  ["DEL in a value", [...HEAD, "x-a", "b\x7fc"]],
  ["a blank before a value", [...HEAD, "x-a", " b"]],
  ["transfer-encoding", [...HEAD, "transfer-encoding", "chunked"]],
  ["connection", [...HEAD, "connection", "close"]],
  ["keep-alive", [...HEAD, "keep-alive", "1"]],
  ["proxy-connection", [...HEAD, "proxy-connection", "close"]],
  ["upgrade", [...HEAD, "upgrade", "websocket"]],
  ["te other than trailers", [...HEAD, "te", "gzip"]],
  ["two paths", [...HEAD, ":path", "/b"]],
  ["two methods", [":method", "POST", ...HEAD]],
  ["a pseudo header behind a field", [...without(":path"), "x-a", "b", ":path", "/a"]],
  ["a pseudo header of responses", [":status", "200", ...HEAD]],
  ["an unknown pseudo header", [":x", "y", ...HEAD]],
  ["no path", without(":path")],
  ["no method", without(":method")],
  ["no scheme", without(":scheme")],
  ["an empty path", replaced(":path", "")],
  ["a path without a slash", replaced(":path", "a")],
  ["a space in the path", replaced(":path", "/a b")],
  ["a request line in the path", replaced(":path", "/ HTTP/1.1\r\nhost: b")],
  ["a path beyond ASCII", replaced(":path", "/\xe9")],
  ["a fragment in the path", replaced(":path", "/a#b")],
  ["an absolute path", replaced(":path", "http://b/")],
  ["a space in the method", replaced(":method", "GET /b")],
  ["an empty method", replaced(":method", "")],
  ["a space in the authority", replaced(":authority", "a b")],
  ["a user in the authority", replaced(":authority", "u@reviews")],
  ["a path in the authority", replaced(":authority", "reviews/b")],
  ["a port that is none", replaced(":authority", "reviews:99999")],
  ["a host that differs", [...HEAD, "host", "other"]],
  ["two hosts", [...without(":authority"), "host", "a", "host", "b"]],
  ["CONNECT with a path", replaced(":method", "CONNECT")],
  ["CONNECT", [":method", "CONNECT", ":authority", "reviews:80"]],
  ["two lengths", [...HEAD, "content-length", "1", "content-length", "2"], "a"],
  ["a length that is none", [...HEAD, "content-length", "1a"], "a"],
  ["a signed length", [...HEAD, "content-length", "+1"], "a"],
  ["a length too short", [...HEAD, "content-length", "1"], "hello"],
  ["a length too long", [...HEAD, "content-length", "9"], "hello"],
])("%s is refused", async (_name, list, body) => {
  for (const protocol of ["HTTP11", "HTTP2"] as const) {
    const waypoint = new FakeWaypoint(withProtocol(protocol));
    const arrived: MemoryPeer[] = [];
    waypoint.backends.onConnection = (peer) => arrived.push(peer);
    const send = await rawClient(waypoint);
    expect(await send(list, body)).toMatch(/^(400|405|RST_STREAM PROTOCOL_ERROR)$/);
    await settle();
    // With a body a request may have begun; it is never completed.
    if (body === undefined) expect(arrived).toEqual([]);
    else for (const peer of arrived) expect(peer.isClosed).toBe(protocol === "HTTP11");
    expect(waypoint.active).toBe(0);
  }
});

test("the encoder lets no line break through", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP11"));
  const send = await rawClient(waypoint);
  void send([...HEAD, "x-a", "b\r\nx-b: c\0d"]);
  await expect.poll(() => waypoint.backends.connections.length).toBe(1);
  await settle();
  expect(waypoint.backends.last.text).not.toContain("\r\nx-b");
});
