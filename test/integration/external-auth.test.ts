/**
 * ExternalAuth by gRPC in a running mesh: a route asks a server of @grpc/grpc-js, over HBONE as
 * everything else, and what it answers is what the client and the backend get.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EchoAnswer } from "../../src/local/echo-answer.ts";
import {
  type AttributeContext,
  Authorization,
  CheckRequestSchema,
  CheckResponseSchema,
} from "../../src/wire/gen/envoy/ext_authz_pb.ts";
import type { Resource } from "../conformance/routes/cases.ts";
import { RouteMesh } from "../conformance/routes/route-mesh.ts";

const NAMESPACE = "shop";
const JUDGE_PORT = 9000;
const BODY_BYTES_MAX = 100;
const PERMISSION_DENIED = 7;

type Verdict = MessageInitShape<typeof CheckResponseSchema>;

const header = (key: string, value: string) => ({ header: { key, value } });

/** By path; undefined: no answer, ever. */
const VERDICTS: Readonly<Record<string, Verdict | undefined>> = {
  "/allowed": {
    httpResponse: {
      case: "okResponse",
      value: {
        headers: [header("x-user", "ann")],
        headersToRemove: ["x-secret"],
        responseHeadersToAdd: [header("x-judged", "yes")],
      },
    },
  },
  "/denied": {
    status: { code: PERMISSION_DENIED },
    httpResponse: {
      case: "deniedResponse",
      value: {
        status: { code: 401 },
        headers: [header("www-authenticate", "Bearer")],
        body: "who are you?",
      },
    },
  },
  "/just-denied": { status: { code: PERMISSION_DENIED } },
  "/hanging": undefined,
};

/** What the authorizer was asked, newest last. */
const asked: AttributeContext[] = [];
/** Questions that the waypoint has taken back. */
let takenBack = 0;

const { check } = Authorization.method;
const bytes = (value: Buffer) => value;
const judge = new grpc.Server();
judge.addService(
  {
    check: {
      path: `/${Authorization.typeName}/${check.name}`,
      ...{ requestStream: false, responseStream: false },
      ...{ requestSerialize: bytes, requestDeserialize: bytes },
      ...{ responseSerialize: bytes, responseDeserialize: bytes },
    },
  },
  {
    check: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const { attributes } = fromBinary(CheckRequestSchema, call.request);
      asked.push(attributes!);
      const path = attributes!.request!.http!.path;
      const verdict = path in VERDICTS ? VERDICTS[path] : {};
      call.on("cancelled", () => takenBack++);
      if (verdict === undefined) return;
      done(null, Buffer.from(toBinary(CheckResponseSchema, create(CheckResponseSchema, verdict))));
    },
  },
);

function workload(name: string, port: object): Resource[] {
  const labels = { app: name };
  const metadata = { name, namespace: NAMESPACE };
  const template = { metadata: { labels }, spec: {} };
  const selector = { matchLabels: labels };
  return [
    { apiVersion: "v1", kind: "Service", metadata, spec: { selector: labels, ports: [port] } },
    { apiVersion: "apps/v1", kind: "Deployment", metadata, spec: { selector, template } },
  ];
}

function rule(path: string, more: object): object {
  const externalAuth = {
    ...{ protocol: "GRPC", grpc: {}, backendRef: { name: "judge", port: JUDGE_PORT } },
    ...more,
  };
  return {
    matches: [{ path: { type: "PathPrefix", value: path } }],
    filters: [{ type: "ExternalAuth", externalAuth }],
    backendRefs: [{ name: "server", port: 80 }],
  };
}

const ROUTE: Resource = {
  apiVersion: "gateway.networking.k8s.io/v1",
  kind: "HTTPRoute",
  metadata: { name: "asked", namespace: NAMESPACE },
  spec: {
    parentRefs: [{ group: "", kind: "Service", name: "server" }],
    rules: [
      rule("/", {}),
      rule("/body", { forwardBody: { maxSize: BODY_BYTES_MAX } }),
      rule("/named", { grpc: { allowedHeaders: ["x-shown"] } }),
    ],
  },
};

let mesh: RouteMesh;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "waystone-auth-"));
  const port = await new Promise<number>((resolve, reject) => {
    judge.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const base: Resource[] = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "istio", namespace: "istio-system" },
      data: { mesh: `accessLogFile: ${join(directory, "access.log")}\n` },
    },
    ...workload("client", { name: "http", port: 80 }),
    ...workload("server", { name: "http", port: 80 }),
    ...workload("judge", { name: "grpc", port: JUDGE_PORT }),
    ROUTE,
  ];
  mesh = await RouteMesh.start({
    ...{ base, waypointIn: [NAMESPACE] },
    overrides: [
      { workload: `${NAMESPACE}/judge`, workloadPort: JUDGE_PORT, host: "127.0.0.1", port },
    ],
  });
});

afterAll(async () => {
  await mesh?.stop();
  judge.forceShutdown();
  rmSync(directory, { recursive: true, force: true });
});

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

async function ask(path: string, headers = {}, body = ""): Promise<Answer> {
  const client = mesh.report().workloads.find((pod) => pod.workloadName === "client")!;
  const socket = await mesh.dial(client, "server", 80);
  return await new Promise((resolve, reject) => {
    const request = http.request({
      ...{ createConnection: () => socket, method: body === "" ? "GET" : "POST", path },
      headers: { host: "server", ...headers },
    });
    request.on("error", reject);
    request.on("response", (answer) => {
      let text = "";
      answer.setEncoding("utf8");
      answer.on("data", (more) => {
        text += more;
      });
      answer.on("end", () =>
        resolve({ status: answer.statusCode!, headers: answer.headers, text }),
      );
    });
    request.end(body);
  });
}

/** Of the last question. */
const question = () => asked.at(-1)!;

const echoed = ({ text }: Answer) => JSON.parse(text) as EchoAnswer;

test("allowed: its changes reach the backend and the client", async () => {
  const answer = await ask("/allowed", { "x-secret": "s", "x-user": "bob" });
  expect(answer.status).toBe(200);
  expect(answer.headers["x-judged"]).toBe("yes");
  expect(echoed(answer).headers).toMatchObject({ "x-user": "ann" });
  expect(echoed(answer).headers).not.toHaveProperty("x-secret");
});

test("the question says who asks for what", async () => {
  await ask("/allowed", { "x-secret": "s" });
  const { source, destination, request } = question();
  expect(source!.principal).toBe("spiffe://cluster.local/ns/shop/sa/default");
  expect(destination!.service).toBe("server.shop.svc.cluster.local");
  expect(request!.http).toMatchObject({ method: "GET", path: "/allowed", body: "" });
  expect(request!.http!.headers).toMatchObject({ "x-secret": "s", ":authority": "server" });
});

test("headers that are not named are not shown", async () => {
  await ask("/named", { "x-secret": "s", "x-shown": "1" });
  const { headers } = question().request!.http!;
  expect(headers).toMatchObject({ "x-shown": "1", ":path": "/named" });
  expect(headers).not.toHaveProperty("x-secret");
});

test("denied: with its status, headers and body", async () => {
  const { status, headers, text } = await ask("/denied");
  expect([status, headers["www-authenticate"], text]).toEqual([401, "Bearer", "who are you?"]);
  expect((await ask("/just-denied")).status).toBe(403);
});

test("a gRPC client that is denied gets a gRPC status", async () => {
  const { status, headers } = await ask("/just-denied", { "content-type": "application/grpc" });
  expect([status, headers["grpc-status"]]).toEqual([200, "7"]);
});

test.each([
  ["none of it, where the filter says nothing", "/allowed", 50, 0, undefined],
  ["all of it", "/body", BODY_BYTES_MAX - 1, BODY_BYTES_MAX - 1, "false"],
  ["its beginning", "/body", 3 * BODY_BYTES_MAX, BODY_BYTES_MAX, "true"],
  ["its beginning, however long it is", "/body", 3 << 20, BODY_BYTES_MAX, "true"],
])("of a body it is shown %s", async (_name, path, sentBytes, shownBytes, partial) => {
  const body = "x".repeat(sentBytes);
  const answer = await ask(path, {}, body);
  expect(echoed(answer).bodyBytes).toBe(sentBytes);
  const shown = question().request!.http!;
  expect(shown.body).toBe(body.slice(0, shownBytes));
  expect(shown.headers["x-envoy-auth-partial-body"]).toBe(partial);
});

/** `externalAuthTimeoutMs` is 10 s: both wait at the same time. */
test("one that hangs refuses: 403 UAEX; or the call's own deadline is over before", async () => {
  const before = takenBack;
  const startMs = performance.now();
  const call = { "content-type": "application/grpc", "grpc-timeout": "500m" };
  const [refused, late] = await Promise.all([ask("/hanging"), ask("/hanging", call)]);
  expect([refused.status, refused.text]).toEqual([403, ""]);
  expect(performance.now() - startMs).toBeGreaterThan(9_990);
  expect(late.headers["grpc-status"]).toBe("4");
  await expect.poll(() => takenBack, { timeout: 5_000 }).toBe(before + 2);
  const line = () => readFileSync(join(directory, "access.log"), "utf8");
  await expect
    .poll(line, { timeout: 5_000 })
    .toMatch(/GET \/hanging [^\n]* 403 UAEX ext_authz_error/);
});
