/** What `decide()` says a waypoint answers itself is what the waypoint answers. */
import { afterEach, expect, test } from "vitest";
import { settle } from "../../test/support/memory-stream.ts";
import { FakeWaypoint, meshWith, REVIEWS, withRule } from "../../test/support/waypoint-session.ts";
import type { HttpBackend, HttpRouteRule, RouteFilter } from "../model/route.ts";
import { decide } from "../policy/decide.ts";
import type { HttpFacts } from "../policy/facts.ts";

const REDIRECT: RouteFilter = {
  type: "RequestRedirect",
  scheme: "https",
  hostname: undefined,
  port: undefined,
  path: undefined,
  statusCode: 301,
};

const CORS: RouteFilter = {
  type: "CORS",
  allowOrigins: ["https://a.example"],
  allowCredentials: false,
  allowMethods: ["GET"],
  allowHeaders: [],
  exposeHeaders: [],
  maxAgeS: 5,
};

const BACKEND: HttpBackend = {
  weight: 1,
  service: REVIEWS,
  port: 80,
  problem: undefined,
  position: undefined,
  filters: [],
};
const GONE: HttpBackend = { ...BACKEND, service: undefined, problem: "BackendNotFound" };

const RULES: Readonly<Record<string, Partial<HttpRouteRule>>> = {
  plain: {},
  "a filter that is not known": { problem: "filter X is not known", filters: [REDIRECT] },
  redirect: { filters: [REDIRECT] },
  "redirect without backends": { filters: [REDIRECT], backends: [] },
  "redirect for a backend": { backends: [{ ...BACKEND, filters: [REDIRECT] }] },
  "no backends": { backends: [] },
  "no weight": { backends: [{ ...BACKEND, weight: 0 }] },
  "a backend that does not exist": { backends: [GONE] },
  cors: { filters: [CORS] },
  "cors and redirect": { filters: [REDIRECT, CORS] },
  "cors and a backend that does not exist": { filters: [CORS], backends: [GONE] },
};

const HEADERS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  GET: {},
  OPTIONS: { origin: "https://a.example", "access-control-request-method": "GET" },
  "OPTIONS without a method": { origin: "https://a.example" },
  "OPTIONS of nobody": { "access-control-request-method": "GET" },
  "GET of a preflight": { origin: "https://a.example", "access-control-request-method": "GET" },
};

let waypoint = new FakeWaypoint();
afterEach(async () => {
  for (const session of waypoint.context.sessions) session.drain(0);
  for (const stream of waypoint.backends.streams) stream.reset("cancel");
  await settle();
});

const cases = Object.keys(RULES).flatMap((rule) =>
  Object.keys(HEADERS).map((head) => [rule, head]),
);

test.each(cases)("%s: %s", async (ruleName, headName) => {
  const snapshot = withRule(meshWith(1), RULES[ruleName!]!);
  const headers = HEADERS[headName!]!;
  const [method = ""] = headName!.split(" ");
  waypoint = new FakeWaypoint(snapshot);
  const { client } = waypoint.open();
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  client.send(`${method} /a HTTP/1.1\r\nhost: reviews\r\n${lines.join("")}\r\n`);
  await settle();
  const facts: HttpFacts = {
    sourceIdentity: undefined,
    sourceAddress: "127.70.0.2",
    destinationAddress: "127.70.0.3",
    destinationPort: 80,
    method,
    path: "/a",
    query: "",
    authority: "reviews",
    header: (name) => headers[name],
    jwt: undefined,
    remoteAddress: undefined,
  };
  const hop = { proxy: "waypoint", waypoint: "default/wp", service: REVIEWS, port: 80 } as const;
  const { status } = decide(snapshot, hop, facts, Math.random());
  expect(/^HTTP\/1\.1 (\d+)/.exec(client.text)?.[1]).toBe(status?.toString());
  expect(waypoint.backends.connections).toHaveLength(status === undefined ? 1 : 0);
});
