/** Clients that come back: the same endpoint, whatever the weights, until the session ends. */
import { afterEach, expect, test } from "vitest";
import { ask, connect, endClients, serveHttp2 } from "../../test/support/inner-http2.ts";
import { settle, until } from "../../test/support/memory-stream.ts";
import {
  FakeWaypoint,
  meshWith,
  REVIEWS_HOST,
  withHttp2Backends,
  withRule,
} from "../../test/support/waypoint-session.ts";
import type { HttpBackend, HttpRouteRule, SessionPersistence } from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";

const COOKIE: SessionPersistence = {
  type: "Cookie",
  name: "session",
  absoluteTimeoutMs: 0,
  idleTimeoutMs: 0,
  isPermanent: false,
};
const HEADER: SessionPersistence = { ...COOKIE, type: "Header", name: "X-Session" };

let waypoint = new FakeWaypoint();

function start(rule: Partial<HttpRouteRule>, count = 8): FakeWaypoint {
  return through(withRule(meshWith(count), rule));
}

/** Backends answer where they are, and set a cookie of their own. */
function through(mesh: Snapshot): FakeWaypoint {
  waypoint = new FakeWaypoint(mesh);
  const { backends } = waypoint;
  backends.onConnection = (peer) => {
    const { address } = backends.dialed.at(-1)!;
    const answer = `HTTP/1.1 200 OK\r\nset-cookie: own=1\r\ncontent-length: ${address.length}\r\n\r\n`;
    peer.onData = (bytes, from, to) => {
      peer.stream.credit(to - from);
      for (const _ of bytes.toString("latin1", from, to).matchAll(/GET /g)) {
        peer.send(answer + address);
      }
    };
  };
  return waypoint;
}

afterEach(async () => {
  endClients();
  await settle();
  expect(waypoint.active).toBe(0);
});

interface Seen {
  readonly address: string;
  readonly cookies: readonly string[];
  readonly token: string;
  readonly head: string;
}

/** One request on a connection of its own. */
async function get(lines: readonly string[] = [], path = "/a"): Promise<Seen> {
  const { client } = waypoint.open();
  client.send([`GET ${path} HTTP/1.1`, "host: reviews", ...lines, "", ""].join("\r\n"));
  await until(() => /\r\n\r\n./.test(client.text), "an answer");
  await settle();
  const [head = "", address = ""] = client.text.split("\r\n\r\n");
  const cookies = [...head.matchAll(/set-cookie: (session=.*)/g)].map((found) => found[1]!);
  const token = cookies[0]?.slice("session=".length).split(";")[0] ?? "";
  client.stream.reset("cancel");
  return { address, cookies, token, head };
}

const cookie = (token: string, more = "") => [`cookie: theme=dark; ${more}session=${token}; b=c`];

test("the first answer sets a cookie, and the cookie leads to the same endpoint", async () => {
  start({ sessionPersistence: COOKIE });
  const first = await get();
  expect(first.cookies).toEqual([`session=${first.token}; Path=/; HttpOnly; SameSite=Strict`]);
  expect(first.head).toContain("set-cookie: own=1");
  for (let i = 0; i < 50; i++) {
    const again = await get(cookie(first.token));
    expect(again.address).toBe(first.address);
    expect(again.cookies).toEqual([]);
  }
  const others = new Set<string>();
  for (let i = 0; i < 50; i++) others.add((await get()).address);
  expect(others.size).toBeGreaterThan(3);
});

test("another waypoint with the same mesh understands it", async () => {
  start({ sessionPersistence: COOKIE });
  const first = await get();
  start({ sessionPersistence: COOKIE });
  for (let i = 0; i < 20; i++) {
    expect((await get(cookie(first.token))).address).toBe(first.address);
  }
});

test("nothing can be read from it, neither address nor name", async () => {
  start({ sessionPersistence: COOKIE });
  const { token, address } = await get();
  expect(token).toMatch(/^[\w-]{22}$/);
  const bytes = Buffer.from(token, "base64url").toString("latin1");
  expect(`${token}${bytes}`).not.toContain(address);
  expect(bytes).not.toContain("reviews");
});

test("of several cookies of the name the one that is a token counts", async () => {
  start({ sessionPersistence: COOKIE });
  const { token, address } = await get();
  for (let i = 0; i < 20; i++) {
    const more = `session=${"A".repeat(22)}; session=nonsense; xsession=${token}; `;
    expect((await get(cookie(token, more))).address).toBe(address);
  }
});

test("what is made up is no session", async () => {
  start({ sessionPersistence: COOKIE });
  for (const token of ["A".repeat(22), "127.70.1.1:8080", "", "%00"]) {
    const seen = await get(cookie(token));
    expect(seen.cookies).toHaveLength(1);
  }
});

test("a token of another rule is none", async () => {
  start({ sessionPersistence: COOKIE, name: "one" });
  const { token } = await get();
  start({ sessionPersistence: COOKIE, name: "two" });
  expect((await get(cookie(token))).cookies).toHaveLength(1);
});

test("header: the same, in the header of that name", async () => {
  start({ sessionPersistence: HEADER });
  const first = await get();
  const token = /x-session: (\S+)/.exec(first.head)![1]!;
  expect(first.cookies).toEqual([]);
  for (let i = 0; i < 20; i++) {
    const again = await get([`x-session: ${token}`]);
    expect(again.address).toBe(first.address);
    expect(again.head).not.toContain("x-session");
  }
});

test("an endpoint that is gone ends the session; another begins", async () => {
  const rule = { sessionPersistence: COOKIE };
  const mesh = withRule(meshWith(4), rule);
  through(mesh);
  const first = await get();
  const key = `default/${REVIEWS_HOST}`;
  const left = mesh.endpoints.get(key)!.filter(({ address }) => address !== first.address);
  const endpoints = { ...mesh.endpoints, get: () => left } as unknown as Snapshot["endpoints"];
  waypoint.snapshot = { ...mesh, revision: mesh.revision + 1, endpoints };
  const second = await get(cookie(first.token));
  expect(second.address).not.toBe(first.address);
  expect(second.token).not.toBe(first.token);
  expect((await get(cookie(second.token))).address).toBe(second.address);
});

test("an endpoint that cannot be reached does not end the request", async () => {
  start({ sessionPersistence: COOKIE });
  const first = await get();
  start({ sessionPersistence: COOKIE });
  waypoint.backends.outcome = (_, { address }) => (address === first.address ? "fail" : "accept");
  const second = await get(cookie(first.token));
  expect(second.address).not.toBe(first.address);
  expect(second.cookies).toHaveLength(1);
});

test("weights choose for new sessions alone, also a weight of nothing", async () => {
  const backend = (weight: number, port: number): HttpBackend => ({
    weight,
    service: `default/${REVIEWS_HOST}`,
    port,
    problem: undefined,
    position: undefined,
    filters: [],
  });
  const ports = () => waypoint.backends.dialed.at(-1)!.targetPort;
  start({ sessionPersistence: COOKIE, backends: [backend(1, 80), backend(0, 9000)] });
  const first = await get();
  expect(ports()).toBe(8080);
  start({ sessionPersistence: COOKIE, backends: [backend(0, 80), backend(1, 9000)] });
  await get();
  expect(ports()).toBe(9000);
  for (let i = 0; i < 10; i++) {
    expect((await get(cookie(first.token))).address).toBe(first.address);
    expect(ports()).toBe(8080);
  }
});

test("a permanent cookie says how long it lives", async () => {
  const says = { ...COOKIE, isPermanent: true, absoluteTimeoutMs: 300_000 };
  start({ sessionPersistence: says });
  const { cookies } = await get();
  expect(cookies[0]).toContain("; Max-Age=300; Expires=");
  const endMs = Date.parse(/Expires=(.*)$/.exec(cookies[0]!)![1]!);
  expect(Math.abs(endMs - Date.now() - 300_000)).toBeLessThan(3000);
});

test("a session cookie says no end, but has one", async () => {
  start({ sessionPersistence: { ...COOKIE, absoluteTimeoutMs: 80 } });
  const first = await get();
  expect(first.cookies[0]).not.toMatch(/max-age|expires/i);
  expect((await get(cookie(first.token))).cookies).toEqual([]);
  await new Promise((resolve) => setTimeout(resolve, 90));
  expect((await get(cookie(first.token))).cookies).toHaveLength(1);
});

test("idle time begins anew with each answer, the absolute one does not", async () => {
  start({ sessionPersistence: { ...COOKIE, idleTimeoutMs: 5000, absoluteTimeoutMs: 9000 } });
  const first = await get();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const second = await get(cookie(first.token));
  expect(second.address).toBe(first.address);
  const [tag, issued, used] = first.token.split(".");
  expect(second.token.split(".").slice(0, 2)).toEqual([tag, issued]);
  expect(second.token.split(".")[2]).not.toBe(used);
});

test("Path is what the match has of the path, Secure comes with TLS in front", async () => {
  const path = { type: "PathPrefix", value: "/shop/" } as const;
  const match = { path, headers: [], queryParams: [], method: undefined };
  start({ sessionPersistence: COOKIE, matches: [match] });
  const { cookies } = await get(["x-forwarded-proto: https"], "/shop/cart");
  expect(cookies[0]).toContain("; Path=/shop; HttpOnly; SameSite=Strict; Secure");
});

test("a name that promises something comes with it", async () => {
  const path = { type: "PathPrefix", value: "/shop" } as const;
  const match = { path, headers: [], queryParams: [], method: undefined };
  start({ sessionPersistence: { ...COOKIE, name: "__Host-sid" }, matches: [match] });
  const { head } = await get([], "/shop");
  expect(head).toMatch(/__Host-sid=[\w-]{22}; Path=\/; HttpOnly; SameSite=Strict; Secure/);
});

test("a name that is none sets nothing", async () => {
  start({ sessionPersistence: { ...COOKIE, name: "a b;c\r\nx: y" } });
  const { head } = await get();
  expect(head).not.toContain("x: y");
});

test("HTTP/2: cookies in lines of their own", async () => {
  waypoint = new FakeWaypoint(
    withRule(withHttp2Backends(meshWith(8)), { sessionPersistence: COOKIE }),
  );
  const { backends } = waypoint;
  serveHttp2(waypoint).on("stream", (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("x");
  });
  const first = await ask(connect(waypoint), { ":path": "/" });
  const token = first.headers["set-cookie"]![0]!.slice("session=".length).split(";")[0]!;
  const { address } = backends.dialed[0]!;
  for (let i = 0; i < 20; i++) {
    await ask(connect(waypoint), { ":path": "/", cookie: ["a=b", `session=${token}`] as never });
  }
  expect(new Set(backends.dialed.map((endpoint) => endpoint.address))).toEqual(new Set([address]));
});
