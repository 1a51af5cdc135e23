import http2 from "node:http2";
import { afterEach, expect, test } from "vitest";
import {
  ask,
  connect,
  endClients,
  serveHttp2,
  withProtocol,
} from "../../test/support/inner-http2.ts";
import { denyingAll, FakeWaypoint, meshWith } from "../../test/support/waypoint-session.ts";

afterEach(endClients);

test.each(["http1", "http2"] as const)("h2 to h2, with trailers (%s)", async (through) => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  serveHttp2(waypoint).on("stream", (stream, headers) => {
    let body = "";
    stream.on("data", (bytes) => {
      body += bytes;
    });
    stream.on("end", () => {
      stream.respond({ ":status": 200, "x-path": headers[":path"]! }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "5" }));
      stream.end(`got ${body} ${headers.te}`);
    });
  });
  const client = connect(waypoint, through);
  const grpc = { ":method": "POST", "content-type": "application/grpc", te: "trailers" };
  const answers = await Promise.all(
    ["/a", "/b", "/c"].map((path) => ask(client, { ...grpc, ":path": path }, "body")),
  );
  expect(answers.map((a) => a.headers["x-path"])).toEqual(["/a", "/b", "/c"]);
  expect(answers[0]).toMatchObject({ body: "got body trailers", trailers: { "grpc-status": "5" } });
  expect(answers[0]!.headers.server).toBe("istio-envoy");
  expect(waypoint.backends.dialed).toHaveLength(1);
  expect(waypoint.metrics()).toMatch(/request_protocol="grpc".*grpc_response_status="5"/);
  expect(waypoint.active).toBe(0);
});

test("h2 to h1: cookies joined, body chunked, trailers back", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP11"));
  waypoint.backends.onConnection = (peer) => {
    const answer =
      "HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\n\r\n" +
      "2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n";
    setTimeout(() => peer.send(answer), 50);
  };
  const client = connect(waypoint);
  const headers = { ":method": "POST", ":path": "/a", cookie: ["a=1", "b=2"] };
  const answer = await ask(client, headers as unknown as http2.OutgoingHttpHeaders, "hello");
  expect(answer).toMatchObject({ body: "ok", trailers: { "x-sum": "2" } });
  expect(answer.headers["x-hop"]).toBeUndefined();
  const sent = waypoint.backends.last.text;
  expect(sent).toMatch(/^POST \/a HTTP\/1\.1\r\nhost: reviews\r\n/);
  expect(sent).toContain("cookie: a=1; b=2\r\n");
  expect(sent).toMatch(/\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
});

test("h1 to h2", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  serveHttp2(waypoint).on("stream", (stream, headers) => {
    stream.respond({ ":status": 404 }, { endStream: true });
    expect(headers[":authority"]).toBe("reviews");
  });
  const { client } = waypoint.open();
  client.send("GET /a HTTP/1.1\r\nhost: reviews\r\nconnection: x-a\r\nx-a: 1\r\n\r\n");
  await expect.poll(() => client.text).toMatch(/^HTTP\/1\.1 404 .*content-length: 0\r\n/s);
});

test("h1 to h2: what follows the chunks follows the body, but for what belongs in a head", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  const seen: string[][] = [];
  serveHttp2(waypoint).on("stream", (stream) => {
    stream.on("trailers", (trailers) => seen.push(Object.entries(trailers).flat().map(String)));
    stream.on("end", () => stream.respond({ ":status": 200 }, { endStream: true }));
    stream.resume();
  });
  const { client } = waypoint.open();
  client.send(
    "POST /a HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n" +
      "5\r\nhello\r\n0\r\nX-Late: 1\r\nauthorization: no\r\ncontent-length: 5\r\n\r\n",
  );
  await expect.poll(() => client.text).toMatch(/^HTTP\/1\.1 200 /);
  expect(seen).toEqual([["x-late", "1"]]);
});

test("a denied gRPC request: trailers-only with PERMISSION_DENIED", async () => {
  const waypoint = new FakeWaypoint(denyingAll(meshWith(1)));
  const grpc = { ":method": "POST", ":path": "/a.B/C", "content-type": "application/grpc" };
  const { headers } = await ask(connect(waypoint), grpc, "x");
  expect(headers).toMatchObject({
    ":status": 200,
    "grpc-status": "7",
    "grpc-message": "RBAC: access denied",
  });
});

test("a client that cancels: the backend's stream is reset", async () => {
  const waypoint = new FakeWaypoint(withProtocol("HTTP2"));
  let code = -1;
  serveHttp2(waypoint).on("stream", (stream) => {
    stream.on("error", () => {});
    stream.on("close", () => {
      code = stream.rstCode;
    });
    request.close(http2.constants.NGHTTP2_CANCEL);
  });
  const request = connect(waypoint).request({ ":path": "/", ":authority": "reviews" });
  request.on("error", () => {});
  await expect.poll(() => code).toBe(http2.constants.NGHTTP2_CANCEL);
  expect(waypoint.active).toBe(0);
});
