import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ClusterAccess } from "./cluster-access.ts";
import { KubeClient } from "./kube-client.ts";

const folder = mkdtempSync(join(tmpdir(), "waystone-kube-client-"));
const server = http.createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  const type = request.headers["content-type"];
  response.end(JSON.stringify({ method: request.method, type, body }));
});

beforeAll(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

function client(): KubeClient {
  const { port } = server.address() as AddressInfo;
  const cluster = { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true };
  const kubeconfig = join(folder, "kubeconfig");
  const config = {
    "current-context": "c",
    clusters: [{ name: "c", cluster }],
    users: [{ name: "u", user: {} }],
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  return new KubeClient(new ClusterAccess({ kubeconfig }), 5_000);
}

test.each([
  ["create", "POST", "application/json"],
  ["replace", "PUT", "application/json"],
  ["apply", "PATCH", "application/apply-patch+yaml"],
  ["merge", "PATCH", "application/merge-patch+json"],
  ["remove", "DELETE", "application/json"],
] as const)("write(%s) is a %s whose body arrives", async (kind, method, type) => {
  const object = { preconditions: { uid: "ü" } };
  const signal = AbortSignal.timeout(5_000);
  const answer = await client().write(kind, "/x", {}, object, signal);
  expect(answer).toEqual({ body: { method, type, body: JSON.stringify(object) } });
});
