/** What is tried again, elsewhere and later, and what a client sees of it. */
import { afterEach, describe, expect, test } from "vitest";
import { ask, connect, endClients, serveHttp2 } from "../../test/support/inner-http2.ts";
import { type MemoryPeer, settle, until } from "../../test/support/memory-stream.ts";
import {
  FakeWaypoint,
  meshWith,
  withHttp2Backends,
  withRequestTimeout,
  withRule,
} from "../../test/support/waypoint-session.ts";
import type { HttpRouteRule, RetryPolicy } from "../model/route.ts";
import type { WaypointLimits } from "./limits.ts";

const GET = "GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const ANY: HttpRouteRule["matches"] = [];

const RETRY: RetryPolicy = { attempts: 2, codes: [503], grpcCodes: [], backoffMs: 5 };

let waypoint = new FakeWaypoint();

function start(
  rule: Partial<HttpRouteRule>,
  count = 3,
  limits: Partial<WaypointLimits> = {},
): FakeWaypoint {
  waypoint = new FakeWaypoint(withRule(meshWith(count), rule), limits);
  return waypoint;
}

afterEach(async () => {
  endClients();
  await settle();
  for (const session of waypoint.context.sessions) session.drain(0);
  for (const stream of waypoint.backends.streams) {
    if (!stream.isClosed) expect(stream.heldBytes).toBe(0);
    stream.reset("cancel");
  }
  await settle();
  expect(waypoint.active).toBe(0);
  expect(waypoint.context.keptBytes.bytes).toBe(0);
});

function statuses(text: string): string[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((found) => found[1]!);
}

function plain(status: number, body = ""): string {
  return `HTTP/1.1 ${status} X\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

/** At the first bytes; they are received as ever. */
function once(peer: MemoryPeer, act: () => void): void {
  const receive = peer.onData.bind(peer);
  peer.onData = (bytes, from, to) => {
    peer.onData = receive;
    receive(bytes, from, to);
    act();
  };
}

/** Each connection is answered once by the next of these; `undefined`: not at all. */
function answering(...answers: (string | undefined)[]): void {
  let next = 0;
  waypoint.backends.onConnection = (peer: MemoryPeer) => {
    const answer = answers[Math.min(next++, answers.length - 1)];
    if (answer !== undefined) once(peer, () => peer.send(answer));
  };
}

async function answered(request = GET, count = 1) {
  const opened = waypoint.open();
  opened.client.send(request);
  await until(() => statuses(opened.client.text).length >= count, "an answer");
  await settle();
  return opened;
}

function dialedHosts(): Set<string> {
  return new Set(waypoint.backends.dialed.map(({ address }) => address));
}

describe("answers with a code of the rule", () => {
  test("are not given to the client while attempts are left; hosts differ", async () => {
    start({ retry: RETRY });
    answering(plain(503, "not now"), plain(503), OK);
    const { client } = await answered();
    expect(statuses(client.text)).toEqual(["200"]);
    expect(client.text).not.toContain("not now");
    expect(dialedHosts().size).toBe(3);
    expect(waypoint.retries).toEqual(["answer", "answer"]);
    expect(waypoint.metrics()).toContain('response_code="200"');
    expect(waypoint.metrics()).not.toContain("URX");
  });

  test("the last one is given as it came, with URX", async () => {
    start({ retry: RETRY });
    answering(plain(503, "first"), plain(503, "second"), plain(503, "third"));
    const { client } = await answered();
    expect(client.text).toContain("third");
    expect(waypoint.backends.dialed).toHaveLength(3);
    expect(await waypoint.accessLines()).toEqual([expect.stringContaining("503 URX via_upstream")]);
  });

  test.each([
    ["another code", { retry: RETRY }, plain(500)],
    ["no attempts", { retry: { ...RETRY, attempts: 0 } }, plain(503)],
    ["no retry at all", {}, plain(503)],
  ])("%s: one attempt", async (_name, rule, answer) => {
    start(rule);
    answering(answer);
    await answered();
    expect(waypoint.backends.dialed).toHaveLength(1);
    expect(waypoint.metrics()).not.toContain("URX");
  });

  test("the wait is at least the backoff, and doubles", async () => {
    start({ retry: { ...RETRY, backoffMs: 40 } });
    answering(plain(503));
    const startMs = performance.now();
    await answered();
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(119);
  });

  test("a body is sent again whole, whatever the method", async () => {
    start({ retry: RETRY });
    answering(plain(503), OK);
    const body = "x".repeat(100_000);
    const head = `POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n`;
    await answered(head + body);
    expect(waypoint.backends.connections).toHaveLength(2);
    expect(waypoint.backends.last.text.endsWith(`\r\n\r\n${body}`)).toBe(true);
  });

  test("what comes of the body during the wait follows", async () => {
    start({ retry: { ...RETRY, backoffMs: 30 } });
    answering(plain(503), undefined);
    const { client } = waypoint.open();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    await until(() => waypoint.backends.connections.length === 1, "an attempt");
    await settle();
    client.send("2\r\nde\r\n");
    await until(() => waypoint.backends.connections.length === 2, "another");
    client.send("0\r\n\r\n");
    await settle();
    expect(waypoint.backends.last.text).toMatch(/3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n$/);
    waypoint.backends.last.send(OK);
    await settle();
    expect(statuses(client.text)).toEqual(["200"]);
  });

  test("a body beyond the limit streams on and is not retried", async () => {
    start({ retry: RETRY }, 3, { retryBodyBytesMax: 1000 });
    answering(undefined);
    const { client } = waypoint.open();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n");
    for (let i = 0; i < 5; i++) {
      client.send("y".repeat(1000));
      await settle();
    }
    expect(waypoint.backends.last.text.endsWith("y".repeat(5000))).toBe(true);
    waypoint.backends.last.send(plain(503));
    await settle();
    expect(statuses(client.text)).toEqual(["503"]);
    expect(waypoint.notKept).toEqual(["request"]);
  });

  test("all requests together keep no more than their limit", async () => {
    start({ retry: RETRY }, 3, { keptBodiesBytesMax: 1500 });
    const clients = [waypoint.open().client, waypoint.open().client];
    for (const client of clients) {
      client.send(`POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n${"z".repeat(1000)}`);
    }
    await settle();
    expect(waypoint.context.keptBytes.bytes).toBe(1000);
    expect(waypoint.notKept).toEqual(["waypoint"]);
    for (const client of clients) client.stream.reset("cancel");
    await settle();
  });

  test("an upgrade is not tried again", async () => {
    start({ retry: RETRY });
    answering(plain(503));
    await answered(
      "GET /c HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    expect(waypoint.backends.dialed).toHaveLength(1);
  });
});

describe("attempts that break", () => {
  test.each([
    ["GET", RETRY, 2],
    ["PUT", RETRY, 2],
    ["POST", RETRY, 1],
    ["GET", undefined, 1],
  ])("%s, retry %j: %i attempts", async (method, retry, attempts) => {
    start({ retry });
    let connections = 0;
    waypoint.backends.onConnection = (peer) => {
      const isFirst = connections++ === 0;
      once(peer, () => (isFirst ? peer.stream.reset("cancel") : peer.send(OK)));
    };
    const { client } = await answered(
      `${method} /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc`,
    );
    expect(waypoint.backends.dialed).toHaveLength(attempts);
    expect(statuses(client.text)).toEqual([attempts > 1 ? "200" : "503"]);
  });

  test("connections are tried as often as the rule says, then 503 UF,URX", async () => {
    start({ retry: { ...RETRY, attempts: 4 } }, 2);
    waypoint.backends.outcome = () => "fail";
    const { client } = await answered();
    expect(waypoint.backends.dialed).toHaveLength(5);
    expect(dialedHosts().size).toBe(2);
    expect(waypoint.retries).toEqual(["connect", "connect", "connect", "connect"]);
    expect(client.text).toContain("retried and the latest reset reason: remote connection failure");
    expect(await waypoint.accessLines()).toEqual([expect.stringContaining("503 UF,URX")]);
  });

  test.each([
    ["no attempts", { ...RETRY, attempts: 0 }, 1],
    ["no rule", undefined, 2],
  ])("a connection gone stale, %s", async (_name, retry, connections) => {
    start({ retry }, 1);
    const { client } = waypoint.open();
    client.send(GET);
    await settle();
    waypoint.backends.last.send(OK);
    await settle();
    once(waypoint.backends.last, () => waypoint.backends.last.stream.reset("cancel"));
    answering(OK);
    client.send(GET);
    await until(() => statuses(client.text).length === 2, "an answer");
    expect(waypoint.backends.connections).toHaveLength(connections);
    expect(statuses(client.text)[1]).toBe(connections > 1 ? "200" : "503");
  });

  test("a rule without attempts allows for none", async () => {
    start({ retry: { ...RETRY, attempts: 0 } });
    waypoint.backends.outcome = () => "fail";
    await answered();
    expect(waypoint.backends.dialed).toHaveLength(1);
    expect(await waypoint.accessLines()).toEqual([expect.stringMatching(/503 UF up/)]);
  });
});

describe("time-outs", () => {
  test("an attempt that takes too long is followed by another elsewhere", async () => {
    start({ retry: RETRY, backendRequestTimeoutMs: 30 });
    answering(undefined, OK);
    const { client } = await answered();
    expect(statuses(client.text)).toEqual(["200"]);
    expect(dialedHosts().size).toBe(2);
    expect(waypoint.backends.connections[0]!.isClosed).toBe(true);
    expect(waypoint.retries).toEqual(["timeout"]);
  });

  test("so is one that does not even connect", async () => {
    start({ retry: RETRY, backendRequestTimeoutMs: 30 });
    waypoint.backends.outcome = (dial) => (dial === 1 ? "hang" : "accept");
    answering(OK);
    const { client } = await answered();
    expect(statuses(client.text)).toEqual(["200"]);
    expect(waypoint.backends.aborted).toBe(1);
  });

  test.each([
    ["GET", [503], 3, "UT,URX"],
    ["POST", [503], 1, "UT"],
    ["POST", [504], 3, "UT,URX"],
  ])("%s, codes %j: %i attempts, then 504", async (method, codes, attempts, flags) => {
    start({ retry: { ...RETRY, codes }, backendRequestTimeoutMs: 20 });
    const { client } = await answered(GET.replace("GET", method));
    expect(waypoint.backends.dialed).toHaveLength(attempts);
    expect(statuses(client.text)).toEqual(["504"]);
    expect(await waypoint.accessLines()).toEqual([
      expect.stringContaining(`504 ${flags} upstream_per_try_timeout`),
    ]);
  });

  test("without retry an attempt's time-out is the answer's", async () => {
    start({ backendRequestTimeoutMs: 20 });
    const { client } = await answered();
    expect(client.text).toContain("504");
    expect(waypoint.backends.dialed).toHaveLength(1);
  });

  test("the attempt's time covers its whole answer", async () => {
    start({ retry: RETRY, backendRequestTimeoutMs: 30 });
    answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc");
    const { client } = waypoint.open();
    client.send(GET);
    await until(() => client.isClosed, "the end");
    expect(client.text).toContain("abc");
    expect(waypoint.metrics()).toContain('response_flags="UT"');
    expect(waypoint.backends.dialed).toHaveLength(1);
  });

  test("the request's time holds for all attempts and waits", async () => {
    start({ retry: { ...RETRY, backoffMs: 500 }, requestTimeoutMs: 60 });
    answering(plain(503));
    const startMs = performance.now();
    const { client } = await answered();
    expect(performance.now() - startMs).toBeLessThan(400);
    expect(statuses(client.text)).toEqual(["504"]);
    expect(await waypoint.accessLines()).toEqual([
      expect.stringContaining("504 UT response_timeout"),
    ]);
  });
});

test("HTTP/2: the stream is given up, not the connection; body and trailers come again", async () => {
  waypoint = new FakeWaypoint(withRule(withHttp2Backends(meshWith(1)), { retry: RETRY }));
  const seen: string[] = [];
  serveHttp2(waypoint).on("stream", (stream) => {
    let text = "";
    let sum: unknown;
    stream.on("data", (bytes) => {
      text += bytes;
    });
    stream.on("trailers", (trailers) => {
      sum = trailers["x-sum"];
    });
    stream.on("end", () => {
      seen.push(`${text}|${sum}`);
      stream.respond({ ":status": seen.length < 3 ? 503 : 200 });
      stream.end("answer");
    });
    stream.on("error", () => {});
  });
  const request = connect(waypoint).request(
    { ":path": "/", ":method": "POST", ":authority": "reviews" },
    { waitForTrailers: true },
  );
  request.on("wantTrailers", () => request.sendTrailers({ "x-sum": "7" }));
  const status = new Promise((resolve) => {
    request.on("response", (headers) => resolve(headers[":status"]));
  });
  request.resume();
  request.write("one,");
  await settle();
  request.end("two");
  expect(await status).toBe(200);
  expect(seen).toEqual(["one,two|7", "one,two|7", "one,two|7"]);
  expect(waypoint.backends.connections).toHaveLength(1);
});

describe("gRPC", () => {
  const GRPC = { ":method": "POST", ":path": "/a.B/C", "content-type": "application/grpc" };

  /** A backend whose answers are only a status, one after the other. */
  function startGrpc(rule: Partial<HttpRouteRule> | undefined, statuses: string[]): FakeWaypoint {
    const mesh = withHttp2Backends(meshWith(2));
    waypoint = new FakeWaypoint(rule === undefined ? mesh : withRule(mesh, rule));
    let next = 0;
    serveHttp2(waypoint).on("stream", (stream) => {
      const status = statuses[Math.min(next++, statuses.length - 1)]!;
      stream.respond({ ":status": 200, "grpc-status": status }, { endStream: true });
    });
    return waypoint;
  }

  test.each([
    ["14", undefined, ["14", "0"], "0"],
    ["1", undefined, ["1", "0"], "0"],
    ["8", undefined, ["8", "0"], "8"],
    ["8, asked for", { retry: { ...RETRY, grpcCodes: [8] } }, ["8", "0"], "0"],
    ["14, too often", undefined, ["14"], "14"],
    ["14, not wanted", { retry: { ...RETRY, attempts: 0 } }, ["14", "0"], "14"],
  ])("status %s", async (_name, rule, statuses, seen) => {
    startGrpc(rule, statuses);
    const { headers } = await ask(connect(waypoint), GRPC, "message");
    expect(headers["grpc-status"]).toBe(seen);
    expect(headers[":status"]).toBe(200);
  });

  test("a time-out is UNAVAILABLE", async () => {
    waypoint = new FakeWaypoint(withRequestTimeout(withHttp2Backends(meshWith(1)), 30));
    serveHttp2(waypoint);
    const { headers } = await ask(connect(waypoint), GRPC, "message");
    expect(headers["grpc-status"]).toBe("14");
    expect(await waypoint.accessLines()).toEqual([expect.stringContaining("200 UT")]);
  });
});

/** The table of flags: what befell the request, and what its client and the log are told. */
describe("flags", () => {
  const none = (): void => {};
  const breaks = (): void => {
    waypoint.backends.onConnection = (peer) => once(peer, () => peer.stream.reset("cancel"));
  };
  const unreachable = (): void => {
    waypoint.backends.outcome = () => "fail";
  };
  const POST = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
  const noMatch: HttpRouteRule["matches"] = [
    { path: { type: "Exact", value: "/other" }, headers: [], queryParams: [], method: undefined },
  ];

  test.each<[string, string, Partial<HttpRouteRule>, number, () => void, string, string]>([
    ["no endpoint", GET, {}, 0, none, "503 UH no_healthy_upstream", "no healthy upstream"],
    [
      "no connection, no retry",
      GET,
      { retry: { ...RETRY, attempts: 0 } },
      2,
      unreachable,
      "503 UF upstream_reset_before_response_started{remote_connection_failure}",
      "headers. reset reason: remote connection failure",
    ],
    [
      "no connection",
      GET,
      {},
      2,
      unreachable,
      "503 UF,URX upstream_reset_before_response_started{remote_connection_failure}",
      "headers. retried and the latest reset reason: remote connection failure",
    ],
    [
      "broken",
      POST,
      {},
      2,
      breaks,
      "503 UC upstream_reset_before_response_started{connection_termination}",
      "headers. reset reason: connection termination",
    ],
    [
      "broken, often",
      GET,
      { retry: RETRY },
      2,
      breaks,
      "503 UC,URX upstream_reset_before_response_started{connection_termination}",
      "headers. retried and the latest reset reason: connection termination",
    ],
    [
      "refused, often",
      POST,
      {},
      2,
      () => {
        waypoint.backends.onConnection = (peer) => once(peer, () => peer.stream.reset("refused"));
      },
      "503 UR,URX upstream_reset_before_response_started{remote_refused_stream_reset}",
      "headers. retried and the latest reset reason: remote refused stream reset",
    ],
    [
      "answers to be retried",
      GET,
      { retry: RETRY },
      2,
      () => answering(plain(503, "busy")),
      "503 URX via_upstream",
      "busy",
    ],
    [
      "too slow",
      GET,
      { requestTimeoutMs: 20 },
      1,
      none,
      "504 UT response_timeout",
      "upstream request timeout",
    ],
    [
      "attempts too slow",
      GET,
      { backendRequestTimeoutMs: 20, retry: RETRY },
      1,
      none,
      "504 UT,URX upstream_per_try_timeout",
      "upstream request timeout",
    ],
    ["no rule", GET, { matches: noMatch }, 1, none, "404 NR route_not_found", ""],
    [
      "no HTTP",
      GET,
      { retry: RETRY },
      1,
      () => answering("SSH-2.0-OpenSSH\r\n\r\n"),
      "502 UPE upstream_reset_before_response_started{protocol_error}",
      "protocol error",
    ],
  ])("%s", async (_name, request, rule, count, arrange, line, body) => {
    start({ matches: ANY, ...rule }, count);
    arrange();
    const { client } = await answered(request);
    expect(client.text).toContain(body);
    const [logged] = await waypoint.accessLines();
    expect(logged).toContain(line);
    expect(waypoint.metrics()).toContain(`response_flags="${line.split(" ")[1]!}"`);
  });

  test("the client goes, also while another attempt is waited for", async () => {
    start({ retry: { ...RETRY, backoffMs: 10_000 } });
    answering(plain(503));
    const { client } = waypoint.open();
    client.send(GET);
    await until(() => waypoint.backends.connections[0]?.isClosed === true, "an attempt");
    client.stream.reset("cancel");
    await settle();
    const [line] = await waypoint.accessLines();
    expect(line).toContain("0 DC downstream_remote_disconnect");
  });
});
