/** Control planes in Pods, reached as `kubectl port-forward` reaches them. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { ControlPlanes } from "./control-planes.ts";
import { run } from "./program.ts";

interface PodList {
  items: { metadata: { name: string; namespace: string }; status: { phase: string } }[];
}

const pod = (name: string, phase = "Running") => ({
  metadata: { name, namespace: "istio-system" },
  status: { phase },
});

const [DATA, ERRORS] = [0, 1];
const folder = mkdtempSync(join(tmpdir(), "waystone-control-planes-"));
let pods: PodList["items"] = [];
/** What a Pod answers, or why it is not reached. */
let answers: Record<string, { status?: number; body?: unknown; trouble?: string }> = {};
let asked: string[] = [];

const api = http.createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "", "http://x");
  const isPods = pathname === "/api/v1/pods";
  const isSelected = searchParams.get("labelSelector") === "app.kubernetes.io/name=waystone";
  response.statusCode = isPods && isSelected ? 200 : 404;
  response.end(JSON.stringify({ items: pods }));
});

/** Its end of the tunnel: a channel's number before each piece, first of all the port twice. */
const sockets = new WebSocketServer({ server: api, handleProtocols: () => "v4.channel.k8s.io" });
sockets.on("connection", (socket, { url = "" }) => {
  const [, name = ""] = /\/pods\/([^/]+)\/portforward/.exec(url) ?? [];
  const port = Number(new URL(url, "http://x").searchParams.get("ports"));
  for (const channel of [DATA, ERRORS]) {
    const head = Buffer.alloc(3);
    head[0] = channel!;
    head.writeUInt16LE(port, 1);
    socket.send(head);
  }
  const { status = 200, body, trouble } = answers[name] ?? {};
  if (trouble !== undefined) {
    socket.send(Buffer.concat([Buffer.of(ERRORS!), Buffer.from(trouble)]));
    return;
  }
  socket.on("message", (message: Buffer) => {
    const [line = ""] = message.subarray(1).toString().split("\r\n");
    if (!line.includes("HTTP/1.1")) return;
    asked.push(`${name}:${port} ${line}`);
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const answer = `HTTP/1.1 ${status} x\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
    // In two pieces, as a network may have it.
    for (const part of [answer.slice(0, 20), answer.slice(20)]) {
      socket.send(Buffer.concat([Buffer.of(DATA!), Buffer.from(part)]));
    }
  });
});

let kubeconfig = "";
beforeAll(async () => {
  api.listen(0, "127.0.0.1");
  await once(api, "listening");
  const { port } = api.address() as AddressInfo;
  kubeconfig = join(folder, "kubeconfig");
  const cluster = { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true };
  const config = {
    "current-context": "c",
    clusters: [{ name: "c", cluster }],
    users: [{ name: "u", user: {} }],
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
});
beforeEach(() => {
  asked = [];
  answers = {};
});
afterAll(() => {
  for (const socket of sockets.clients) socket.terminate();
  api.closeAllConnections();
  api.close();
  rmSync(folder, { recursive: true });
});

test("each that runs is asked, through the API server, at its monitoring port", async () => {
  pods = [pod("one"), pod("two"), pod("old", "Succeeded")];
  answers = { one: { body: { n: 1 } }, two: { body: { n: 2, text: "ü".repeat(100_000) } } };
  const found = await new ControlPlanes({ kubeconfig }).ask<{ n: number }>("/debug/x?y=z");
  expect([...found].map(([name, { n }]) => [name, n])).toEqual([
    ["istio-system/one", 1],
    ["istio-system/two", 2],
  ]);
  expect(asked.sort()).toEqual([
    "one:15014 GET /debug/x?y=z HTTP/1.1",
    "two:15014 GET /debug/x?y=z HTTP/1.1",
  ]);
  // Nothing stays open.
  await expect.poll(() => sockets.clients.size).toBe(0);
});

async function status(...args: string[]): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const say = (text: string) => void lines.push(text);
  const code = await run(["status", "--kubeconfig", kubeconfig, ...args], { print: say, say });
  return { code, text: lines.join("\n") };
}

test("the table says who enforces what, and who is waited for", async () => {
  pods = [pod("one"), pod("two")];
  const policy = (proxies: object) => ({
    revision: 7,
    policies: [
      {
        ...{ kind: "AuthorizationPolicy", namespace: "shop", name: "p", generation: 1 },
        proxies: Object.entries(proxies).map(([proxy, revision]) => ({ proxy, revision })),
      },
    ],
  });
  const [first, second] = ["waypoint a.shop", "ztunnel on node-1"] as const;
  answers = {
    one: { body: policy({ [first]: 7, [second]: null }) },
    two: { body: policy({ [first]: null, [second]: 6 }) },
  };
  const { code, text } = await status("-n", "shop");
  expect(code).toBe(0);
  expect(text.split("\n").map((line) => line.trimEnd())).toEqual([
    "POLICY                       ENFORCED   REVISION   WAITING FOR",
    "AuthorizationPolicy shop/p   1/2        7          ztunnel on node-1",
  ]);
  expect(asked[0]).toContain("/debug/enforcedz?namespace=shop ");
});

test.each([
  ["there is none", () => [], {}, /no control plane of Waystone runs/],
  [
    "one is not reached",
    () => [pod("a")],
    { a: { trouble: "nobody listens" } },
    /a did not answer/,
  ],
  ["one refuses", () => [pod("a")], { a: { status: 401, body: "no" } }, /a did not answer: 401/],
  ["one answers nonsense", () => [pod("a")], { a: { body: "<html>" } }, /a did not answer/],
])("when %s, the command says so and ends", async (_what, some, said, expected) => {
  pods = some() as PodList["items"];
  answers = said;
  const { code, text } = await status();
  expect(code).toBe(69);
  expect(text).toMatch(expected);
});
