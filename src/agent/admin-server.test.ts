import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { connect } from "node:net";
import { afterEach, expect, test } from "vitest";
import { Drain } from "../kit/drain.ts";
import { log, setLogLevel } from "../kit/log.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { createAdminServer, createMetricsServer, createReadinessServer } from "./admin-routes.ts";
import { type AdminRoute, AdminServer, type AdminServerOptions } from "./admin-server.ts";
import { Readiness } from "./readiness.ts";

const open: AdminServer[] = [];
afterEach(() => Promise.all(open.splice(0).map((server) => server.close())));

async function started(server: AdminServer): Promise<AdminServer> {
  open.push(server);
  await server.listen("127.0.0.1", 0);
  return server;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function ask(
  server: AdminServer,
  method: string,
  path: string,
  options: { headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const target = { host: "127.0.0.1", port: server.port, method, path };
    const request = httpRequest({ ...target, headers: options.headers ?? {} }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    request.on("error", reject);
    request.end(options.body);
  });
}

/** Sends raw bytes; the answer is everything until the server closes. */
function raw(server: AdminServer, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(server.port, "127.0.0.1", () => socket.write(bytes));
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    socket.on("close", () => resolve(text));
    socket.on("error", reject);
  });
}

const text = (body: string): AdminRoute["handler"] => {
  return () => ({ status: 200, contentType: "text/plain", body });
};

function withRoutes(options: Partial<AdminServerOptions>, ...routes: Partial<AdminRoute>[]) {
  const server = new AdminServer({ name: "test", ...options });
  for (const route of routes) {
    server.addRoute({ method: "GET", path: "/x", description: "", handler: text("x"), ...route });
  }
  return started(server);
}

test("the admin index lists every route, also those added later", async () => {
  const server = await started(createAdminServer({ configDump: () => ({}), quit: () => {} }));
  server.addRoute({ method: "GET", path: "/mine", description: "my page", handler: text("m") });
  const { status, body } = await ask(server, "GET", "/");
  expect(status).toBe(200);
  expect(body).toMatch(/^GET {2}\/config_dump /m);
  expect(body).toMatch(/^POST \/quitquitquit /m);
  expect(body).toMatch(/^GET {2}\/mine +my page$/m);
  expect((await ask(server, "GET", "/mine")).body).toBe("m");
});

test("/config_dump is JSON", async () => {
  const dump = { workloads: [{ uid: "a" }], policies: [] };
  const server = await started(createAdminServer({ configDump: () => dump, quit: () => {} }));
  const answer = await ask(server, "GET", "/config_dump");
  expect(answer.headers["content-type"]).toBe("application/json");
  expect(JSON.parse(answer.body)).toEqual(dump);
});

test("methods and paths are checked", async () => {
  const server = await withRoutes(
    {},
    { path: "/get" },
    { path: "/post", method: "POST" },
    { path: "/tree/" },
  );
  const wrong = await ask(server, "POST", "/get");
  expect([wrong.status, wrong.headers.allow]).toEqual([405, "GET, HEAD"]);
  const other = await ask(server, "GET", "/post");
  expect([other.status, other.headers.allow]).toEqual([405, "POST"]);
  expect((await ask(server, "DELETE", "/post")).status).toBe(405);
  for (const path of ["/none", "/get/", "/get/x", "/tree/", "/tree/a/b", "/", "/GET", "//get"]) {
    expect([path, (await ask(server, "GET", path)).status]).toEqual([path, 404]);
  }
  expect((await ask(server, "GET", "/tree/%zz")).status).toBe(400);
  expect((await ask(server, "GET", "/tree/a")).status).toBe(200);
  const head = await ask(server, "HEAD", "/get");
  expect([head.status, head.body, head.headers["content-length"]]).toEqual([200, "", "1"]);
});

test("a handler sees query, rest of the path and body", async () => {
  const server = await withRoutes(
    {},
    {
      method: "POST",
      path: "/echo/",
      handler: ({ rest, query, body }) => ({
        status: 201,
        contentType: "text/plain",
        body: `${rest}|${query.get("a")}|${body}`,
      }),
    },
  );
  const { status, body } = await ask(server, "POST", "/echo/x%2Fy?a=1%202", { body: "né" });
  expect([status, body]).toEqual([201, "x/y|1 2|né"]);
});

test("an error in a handler is a 500 with its message, and the server lives on", async () => {
  const server = await withRoutes(
    {},
    {
      path: "/throws",
      handler: () => {
        throw new Error("the dump failed");
      },
    },
    { path: "/rejects", handler: () => Promise.reject(new Error("later")) },
    {
      path: "/piece",
      handler: () => ({ status: 200, contentType: "text/plain", body: failing(0) }),
    },
    {
      path: "/late",
      handler: () => ({ status: 200, contentType: "text/plain", body: failing(5) }),
    },
    { path: "/ok" },
  );
  expect(await ask(server, "GET", "/throws")).toMatchObject({
    status: 500,
    body: "the dump failed\n",
  });
  expect(await ask(server, "GET", "/rejects")).toMatchObject({ status: 500, body: "later\n" });
  expect(await ask(server, "GET", "/piece")).toMatchObject({ status: 500, body: "no more\n" });
  await expect(ask(server, "GET", "/late")).rejects.toThrow();
  expect((await ask(server, "GET", "/ok")).status).toBe(200);
});

function* failing(pieces: number): Generator<string> {
  for (let i = 0; i < pieces; i++) yield "x".repeat(100_000);
  throw new Error("no more");
}

test("a body over the limit is 413 and the connection ends", async () => {
  const server = await withRoutes({ bodyBytesMax: 1000 }, { method: "POST" });
  expect((await ask(server, "POST", "/x", { body: "a".repeat(1000) })).status).toBe(200);
  const head = "POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const answer = await raw(server, `${head}7d0\r\n${"a".repeat(2000)}\r\n`);
  expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  expect(answer).toMatch(/connection: close/i);
});

test("a peer that sends its request too slowly is cut off", async () => {
  const server = await withRoutes({ timeoutMs: 100 }, {});
  const startMs = performance.now();
  await raw(server, "GET /x HTTP/1.1\r\nHost: 127");
  expect(performance.now() - startMs).toBeLessThan(5000);
  expect((await ask(server, "GET", "/x")).status).toBe(200);
});

test("a large body comes in pieces and whole", async () => {
  const server = await withRoutes(
    {},
    {
      handler: () => ({
        status: 200,
        contentType: "text/plain",
        body: Array.from({ length: 20_000 }, (_, i) => `${i} ${"x".repeat(100)}\n`),
      }),
    },
  );
  const { body } = await ask(server, "GET", "/x");
  const lines = body.split("\n").slice(0, -1);
  expect(lines.length).toBe(20_000);
  expect(lines.every((line, i) => line.startsWith(`${i} `))).toBe(true);
});

test("the admin port answers no foreign web page and no rebound name", async () => {
  let quits = 0;
  const server = await started(
    createAdminServer({ configDump: () => ({}), quit: () => quits++, trustedHosts: ["mesh.test"] }),
  );
  const quit = (headers: Record<string, string>) =>
    ask(server, "POST", "/quitquitquit", { headers }).then(({ status }) => status);
  const host = `127.0.0.1:${server.port}`;
  expect(await quit({ host: "evil.test" })).toBe(403);
  expect(await quit({ host, origin: "http://evil.test" })).toBe(403);
  expect(await quit({ host, origin: "null" })).toBe(403);
  expect(await quit({ host, "sec-fetch-site": "cross-site" })).toBe(403);
  expect(quits).toBe(0);
  expect(await quit({ host, origin: `http://${host}`, "sec-fetch-site": "same-origin" })).toBe(200);
  expect(await quit({ host: "localhost:15000" })).toBe(200);
  expect(await quit({ host: "[::1]:15000" })).toBe(200);
  expect(await quit({ host: "mesh.test" })).toBe(200);
  await expect.poll(() => quits).toBe(4);
});

test("POST /logging sets the level of logs and refuses unknown ones", async () => {
  const scoped = log("admin-test");
  const server = await started(createAdminServer({ configDump: () => ({}), quit: () => {} }));
  try {
    expect((await ask(server, "POST", "/logging?level=warning")).status).toBe(200);
    expect(scoped.level).toBe("warn");
    expect((await ask(server, "POST", "/logging?level=loud")).status).toBe(400);
    expect((await ask(server, "POST", "/logging")).status).toBe(400);
    expect((await ask(server, "GET", "/logging?level=info")).status).toBe(405);
    expect(scoped.level).toBe("warn");
  } finally {
    setLogLevel("info");
  }
});

test("/decisions/<id> answers kept decisions", async () => {
  const decision = (id: string) => (id === "a/1" ? { verdict: "denied" } : undefined);
  const server = await started(
    createAdminServer({ configDump: () => ({}), quit: () => {}, decision }),
  );
  expect(JSON.parse((await ask(server, "GET", "/decisions/a%2F1")).body)).toEqual({
    verdict: "denied",
  });
  expect((await ask(server, "GET", "/decisions/b")).status).toBe(404);
  expect((await ask(server, "GET", "/decisions/")).status).toBe(404);
});

test("the metrics port serves the exposition under both paths", async () => {
  const registry = new MetricRegistry();
  registry.counter("x_total", "X.").child([]).add(2);
  const server = await started(createMetricsServer(registry));
  for (const path of ["/metrics", "/stats/prometheus"]) {
    const answer = await ask(server, "GET", path, { headers: { host: "prometheus.scrape" } });
    expect(answer.status).toBe(200);
    expect(answer.headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(answer.body).toBe(registry.expose());
  }
});

test("the readiness port says why it is not ready, also while draining", async () => {
  const readiness = new Readiness();
  readiness.require("snapshot", "no configuration yet");
  const server = await started(createReadinessServer(readiness));
  const probe = () => ask(server, "GET", "/healthz/ready");
  expect(await probe()).toMatchObject({
    status: 503,
    body: "not ready\nsnapshot: no configuration yet\n",
  });
  readiness.meet("snapshot");
  expect(await probe()).toMatchObject({ status: 200, body: "ready\n" });
  const drain = new Drain();
  drain.add(readiness);
  drain.add(server);
  let finish = () => {};
  drain.add({
    drain: () =>
      new Promise((resolve) => {
        finish = resolve;
      }),
    destroy: () => {},
  });
  const done = drain.start(5000);
  expect(await probe()).toMatchObject({ status: 503 });
  finish();
  await done;
  await expect(probe()).rejects.toThrow();
});

test("drain() waits for the request in flight", async () => {
  let hasArrived = false;
  let answer = () => {};
  const server = await withRoutes(
    {},
    {
      handler: () =>
        new Promise((resolve) => {
          hasArrived = true;
          answer = () => resolve({ status: 200, contentType: "text/plain", body: "done" });
        }),
    },
  );
  const asked = ask(server, "GET", "/x");
  await expect.poll(() => hasArrived).toBe(true);
  let isDrained = false;
  const drained = server.drain().then(() => {
    isDrained = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(isDrained).toBe(false);
  answer();
  expect((await asked).body).toBe("done");
  await drained;
});

test("listen() says whose port is taken", async () => {
  const first = await withRoutes({});
  const second = new AdminServer({ name: "metrics" });
  await expect(second.listen("127.0.0.1", first.port)).rejects.toThrow(
    /^\[PORT_IN_USE\] metrics port 127\.0\.0\.1:\d+: /,
  );
  await second.close();
});
