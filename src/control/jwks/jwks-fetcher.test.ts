import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { until } from "../../../test/support/ads.ts";
import { smallMesh } from "../../../test/support/small-mesh.ts";
import { Issuer } from "../../../test/support/tokens.ts";
import { setLogLevel } from "../../kit/log.ts";
import { MetricRegistry } from "../../telemetry/metrics.ts";
import type { FetchedJwks } from "../../translate/jwks.ts";
import type { JwksRequest } from "../../translate/request-authentications.ts";
import { JwksFetcher } from "./jwks-fetcher.ts";

setLogLevel("silent");

const JWKS = new Issuer("ES256").jwks();
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

type Answer = (path: string, response: http.ServerResponse) => void;

class FakeControl {
  readonly current = smallMesh();
  readonly jwksRequests = new Map<string, JwksRequest>();
  readonly applied: [string, FetchedJwks][] = [];
  #listener = () => {};

  onJwksRequests(listener: () => void): () => void {
    this.#listener = listener;
    return () => {};
  }

  want(url: string, parts: Partial<JwksRequest> = {}): void {
    this.jwksRequests.set(url, { url, isDiscovery: false, timeoutMs: 200, ...parts });
    this.#listener();
  }

  forget(url: string): void {
    this.jwksRequests.delete(url);
    this.#listener();
  }

  applyJwks(key: string, fetched: FetchedJwks): void {
    this.applied.push([key, fetched]);
  }
}

async function start(answer: Answer, refreshMs = 60_000) {
  let count = 0;
  const server = http.createServer((request, response) => {
    count++;
    answer(request.url ?? "", response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const control = new FakeControl();
  const { port } = server.address() as AddressInfo;
  const dialAddress = () => ({ host: "127.0.0.1", port });
  const fetcher = new JwksFetcher({
    control,
    registry: new MetricRegistry(),
    refreshMs,
    dialAddress,
  });
  cleanups.push(
    () => fetcher.close(),
    () => server.closeAllConnections(),
    () => server.close(),
  );
  return { control, url: `http://127.0.0.1:${port}`, asked: () => count, fetcher };
}

test("keys are fetched once, refreshed, and told when they are others", async () => {
  let keys = JWKS;
  const { control, url, asked } = await start((_, response) => response.end(keys), 20);
  control.want(url);
  await until(() => asked() > 3, "it is asked again");
  expect(control.applied).toEqual([[url, { jwks: JWKS, problem: undefined }]]);
  keys = new Issuer("ES256", "k2").jwks();
  await until(() => control.applied.length > 1, "the new keys are told");
  expect(control.applied[1]![1].jwks).toBe(keys);
  control.forget(url);
  const before = asked();
  await new Promise((resolve) => setTimeout(resolve, 80));
  expect(asked() - before).toBeLessThan(2);
});

test("what was had stays while the issuer is away", async () => {
  let isAway = false;
  const { control, url } = await start((_, response) => {
    response.statusCode = isAway ? 500 : 200;
    response.end(JWKS);
  }, 20);
  control.want(url);
  await until(() => control.applied.length === 1, "keys");
  isAway = true;
  await until(() => control.applied.length === 2, "the problem");
  expect(control.applied[1]![1]).toEqual({ jwks: JWKS, problem: "the answer is 500" });
});

test("an issuer's discovery document names its keys, and redirects are followed", async () => {
  const { control, url } = await start((path, response) => {
    if (path === "/realm/.well-known/openid-configuration") {
      response.end(JSON.stringify({ jwks_uri: `${url}/old` }));
    } else if (path === "/old") response.writeHead(302, { location: "/keys" }).end();
    else response.end(path === "/keys" ? JWKS : "?");
  });
  control.want(`${url}/realm/`, { isDiscovery: true });
  await until(() => control.applied.length === 1, "keys");
  expect(control.applied[0]![1]).toEqual({ jwks: JWKS, problem: undefined });
});

test.each<[string, Answer, RegExp]>([
  ["hangs", () => {}, /no answer within 200 ms/],
  ["is no JSON", (_, r) => r.end("<html>"), /not JSON/],
  ["has no keys", (_, r) => r.end('{"keys":[]}'), /no key in it/],
  ["is endless", (_, r) => r.end("x".repeat(2_000_000)), /longer than/],
  ["breaks off", (_, r) => r.destroy(), /hang up|ECONNRESET/],
  ["redirects in a circle", (_, r) => r.writeHead(302, { location: "/" }).end(), /without end/],
  ["redirects to a file", (_, r) => r.writeHead(302, { location: "file:///x" }).end(), /no http/],
])("an issuer that %s has no keys", async (_, answer, problem) => {
  const { control, url } = await start(answer);
  control.want(url);
  await until(() => control.applied.length === 1, "the problem");
  expect(control.applied[0]![1].jwks).toBeUndefined();
  expect(control.applied[0]![1].problem).toMatch(problem);
});

test("a Service of the mesh is found without DNS", async () => {
  const { control } = await start((_, response) => response.end(JWKS));
  control.want("http://reviews.default.svc.cluster.local/keys");
  await until(() => control.applied.length === 1, "keys");
  expect(control.applied[0]![1].jwks).toBe(JWKS);
});
