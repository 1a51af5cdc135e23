/** How long a gRPC call may take: what its client allows, and what the route does. */
import type http2 from "node:http2";
import { afterEach, describe, expect, test } from "vitest";
import { ask, connect, endClients, serveHttp2 } from "../../test/support/inner-http2.ts";
import { settle } from "../../test/support/memory-stream.ts";
import {
  FakeWaypoint,
  meshWith,
  withHttp2Backends,
  withRule,
} from "../../test/support/waypoint-session.ts";
import type { HttpRouteRule } from "../model/route.ts";
import type { WaypointLimits } from "./limits.ts";

afterEach(endClients);

const CALL = { ":method": "POST", ":path": "/a.B/C", "content-type": "application/grpc" };
const ANSWER = { ":status": 200, "content-type": "application/grpc" };
const SLOW = /UT response_timeout/;

let waypoint: FakeWaypoint;
/** What the backend has got, and how it ended. */
let seen: { headers: http2.IncomingHttpHeaders; endCode: number | undefined }[];

function start(
  rule: Partial<HttpRouteRule> | undefined,
  answer: (stream: http2.ServerHttp2Stream) => void = () => {},
  limits: Partial<WaypointLimits> = {},
): void {
  seen = [];
  const mesh = withHttp2Backends(meshWith(1));
  waypoint = new FakeWaypoint(rule === undefined ? mesh : withRule(mesh, rule), limits);
  serveHttp2(waypoint).on("stream", (stream: http2.ServerHttp2Stream, headers) => {
    const one = { headers, endCode: undefined as number | undefined };
    seen.push(one);
    stream.on("error", () => {});
    stream.on("close", () => {
      one.endCode = stream.rstCode;
    });
    // The client's time may be over by now.
    if (!stream.destroyed) answer(stream);
  });
}

const call = (headers: http2.OutgoingHttpHeaders) =>
  ask(connect(waypoint), { ...CALL, ...headers }, "\0\0\0\0\0");

const CANCEL = 8;

describe("a client's deadline", () => {
  test.each([
    ["no route", undefined],
    ["a route without a time-out", {}],
    ["a route with a longer one", { requestTimeoutMs: 5_000 }],
  ])("%s: DEADLINE_EXCEEDED, and the backend's stream is cancelled", async (_name, rule) => {
    start(rule);
    const { headers, trailers } = await call({ "grpc-timeout": "40m" });
    expect(headers).toMatchObject({ ":status": 200, "grpc-status": "4" });
    expect(headers["grpc-message"]).toBe("upstream request timeout");
    expect(trailers).toEqual({});
    await expect.poll(() => seen[0]?.endCode).toBe(CANCEL);
    expect(seen[0]!.headers["grpc-timeout"]).toBe("40m");
    await settle();
    expect((await waypoint.accessLines())[0]).toMatch(SLOW);
    expect(waypoint.metrics()).toContain('grpc_response_status="4"');
  });

  test("it holds for a call whose request has not ended", async () => {
    start(undefined);
    const request = connect(waypoint).request({
      ...{ ":authority": "reviews", "grpc-timeout": "40m" },
      ...CALL,
    });
    request.on("error", () => {});
    request.write("abc");
    const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) =>
      request.on("response", resolve),
    );
    expect(headers["grpc-status"]).toBe("4");
    await expect.poll(() => seen[0]?.endCode).toBe(CANCEL);
  });

  test("… and for an answer that has begun, which is broken off", async () => {
    start(undefined, (stream) => {
      stream.respond(ANSWER);
      stream.write("abc");
    });
    await expect(call({ "grpc-timeout": "40m" })).rejects.toThrow("Stream closed");
    await expect.poll(() => seen[0]?.endCode).toBe(CANCEL);
    expect((await waypoint.accessLines())[0]).toMatch(SLOW);
  });

  test("… and for all attempts together", async () => {
    const retry = { attempts: 90, codes: [], grpcCodes: [14], backoffMs: 60 };
    start({ retry }, (stream) =>
      stream.respond({ ...ANSWER, "grpc-status": "14" }, { endStream: true }),
    );
    const { headers } = await call({ "grpc-timeout": "500m" });
    expect(headers["grpc-status"]).toBe("4");
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.length).toBeLessThan(90);
  });

  test("one far off does not end the watch for stalls, and is kept all the same", async () => {
    start(undefined, () => {}, { requestBodyIdleTimeoutMs: 20 });
    const startMs = performance.now();
    const { headers } = await call({ "grpc-timeout": "90m" });
    expect(headers["grpc-status"]).toBe("4");
    expect(performance.now() - startMs).toBeGreaterThan(89);
  });

  test.each([
    [{ "grpc-timeout": "40" }],
    [{ "grpc-timeout": "0m" }],
    [{ "grpc-timeout": "40m", "content-type": "application/grpc-web" }],
    [{ "grpc-timeout": "40m", "content-type": "application/json" }],
  ])("none: %j, passed on as it is", async (headers) => {
    start({}, (stream) => setTimeout(() => stream.respond(ANSWER, { endStream: true }), 100));
    expect((await call(headers)).headers[":status"]).toBe(200);
    expect(seen[0]!.headers["grpc-timeout"]).toBe(headers["grpc-timeout"]);
    expect((await waypoint.accessLines())[0]).not.toMatch(SLOW);
  });
});

describe("a route's time-out", () => {
  test.each([["5S"], ["never"], [undefined]])("ends a call that allows for %s", async (value) => {
    start({ requestTimeoutMs: 40 });
    const { headers } = await call(value === undefined ? {} : { "grpc-timeout": value });
    expect(headers["grpc-status"]).toBe("14");
    expect(seen[0]!.headers["grpc-timeout"]).toBe("40m");
    await expect.poll(() => seen[0]?.endCode).toBe(CANCEL);
    expect((await waypoint.accessLines())[0]).toMatch(SLOW);
  });

  test("that of an attempt is what the backend is told, where it is the shortest", async () => {
    start({ requestTimeoutMs: 5_000, backendRequestTimeoutMs: 2_000 }, (stream) =>
      stream.respond(ANSWER, { endStream: true }),
    );
    await call({ "grpc-timeout": "3S" });
    await call({ "grpc-timeout": "1S" });
    expect(seen.map(({ headers }) => headers["grpc-timeout"])).toEqual(["2000m", "1S"]);
  });

  test("requests that are no calls are told nothing", async () => {
    start({ requestTimeoutMs: 5_000 }, (stream) => stream.respond(ANSWER, { endStream: true }));
    await call({ "content-type": "application/json" });
    expect(seen[0]!.headers["grpc-timeout"]).toBeUndefined();
  });
});
