/** The ways to an API server, and who one is there. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TestMesh } from "../../../../test/support/identities.ts";
import { clusterRig } from "../../../../test/support/kubernetes-source.ts";
import { WATCHED_KINDS } from "./watched-kinds.ts";

/** The authority's clock is a month behind. */
const TTL_MS = 2 * 720 * 3_600_000;

const ends: (() => unknown)[] = [];
const onEnd = (end: () => unknown) => void ends.push(end);

beforeEach(() => {
  vi.stubEnv("KUBECONFIG", undefined);
  vi.stubEnv("KUBERNETES_SERVICE_HOST", undefined);
  vi.stubEnv("HOME", "/nowhere");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const end of ends.splice(0).reverse()) await end();
});

test("a Pod asks its own cluster, over TLS, with its service account's token", async () => {
  const mesh = await TestMesh.make();
  const names = ["127.0.0.1"];
  const { certificatePem, keyPem } = await mesh.authority.issueServer({ names, ttlMs: TTL_MS });
  const tls = { cert: certificatePem, key: keyPem, ca: mesh.authority.rootsPem };
  const { api, folder, source } = await clusterRig(onEnd, { tls });
  api.tokens = new Set(["first"]);
  const account = join(folder, "var/run/secrets/kubernetes.io/serviceaccount");
  mkdirSync(account, { recursive: true });
  writeFileSync(join(account, "ca.crt"), tls.ca);
  writeFileSync(join(account, "token"), "first");
  writeFileSync(join(account, "namespace"), "istio-system");
  const { hostname, port } = new URL(api.url);
  vi.stubEnv("KUBERNETES_SERVICE_HOST", hostname);
  vi.stubEnv("KUBERNETES_SERVICE_PORT", port);
  await source({ kubeconfig: undefined, podRoot: folder }).start();
  expect(api.requests.every(({ authorization }) => authorization === "Bearer first")).toBe(true);
});

test("a server whose certificate is not of the cluster's CA is not asked", async () => {
  const mesh = await TestMesh.make();
  const names = ["127.0.0.1"];
  const { certificatePem, keyPem } = await mesh.authority.issueServer({ names, ttlMs: TTL_MS });
  const ca = (await TestMesh.make()).authority.rootsPem;
  const rig = await clusterRig(onEnd, { tls: { cert: certificatePem, key: keyPem, ca } });
  const started = rig.source();
  const outcome = started.start().catch((caught: Error) => caught.message);
  await expect.poll(() => rig.log.length).toBeGreaterThan(1);
  expect(rig.log[1]!.reason).toContain("certificate");
  expect(rig.api.requests).toEqual([]);
  started.close();
  expect(await outcome).toContain("KUBERNETES_UNAVAILABLE");
});

test("a token file is read anew when the server does not take the token any more", async () => {
  const rig = await clusterRig(onEnd);
  writeFileSync(join(rig.folder, "token"), "first\n");
  rig.api.kubeconfig(rig.folder, { tokenFile: "token" });
  rig.api.tokens = new Set(["first"]);
  await rig.started();
  await expect.poll(() => rig.api.watches).toBe(WATCHED_KINDS.length);
  rig.api.tokens = new Set(["second"]);
  rig.api.dropWatches();
  await expect.poll(() => rig.log.map(({ reason }) => reason)).toContain("401 Unauthorized");
  writeFileSync(join(rig.folder, "token"), "second\n");
  await expect.poll(() => rig.api.watches).toBe(WATCHED_KINDS.length);
  expect(rig.log.map(({ msg }) => msg)).toEqual([
    "reading objects",
    expect.stringContaining("does not answer"),
    "the API server answers again",
  ]);
});

test("the context that is named decides where to ask, and as whom", async () => {
  const one = await clusterRig(onEnd);
  const other = await clusterRig(onEnd);
  const config = JSON.parse(readFileSync(one.kubeconfig, "utf8"));
  const { clusters } = JSON.parse(readFileSync(other.kubeconfig, "utf8"));
  config.clusters.push({ ...clusters[0], name: "other" });
  config.users.push({ name: "somebody", user: { token: "t" } });
  config.contexts.push({ name: "there", context: { cluster: "other", user: "somebody" } });
  writeFileSync(one.kubeconfig, JSON.stringify(config));
  await one.source({ context: "there" }).start();
  expect(one.api.requests).toEqual([]);
  expect(other.api.requests[0]!.authorization).toBe("Bearer t");
  await expect(one.source({ context: "nowhere" }).start()).rejects.toThrow(
    "there is no context nowhere in the kubeconfig; there are: test, there",
  );
});

test("without a word, the user's kubeconfig is taken", async () => {
  const rig = await clusterRig(onEnd);
  vi.stubEnv("KUBECONFIG", rig.kubeconfig);
  await rig.source({ kubeconfig: undefined }).start();
  expect(rig.api.requests.length).toBeGreaterThan(0);
});

test("no kubeconfig, or one that cannot be read, is said at once", async () => {
  const rig = await clusterRig(onEnd);
  const start = (kubeconfig: string | undefined) => rig.source({ kubeconfig }).start();
  await expect(start(undefined)).rejects.toThrow("there is no kubeconfig");
  await expect(start(join(rig.folder, "none"))).rejects.toThrow("KUBERNETES_ACCESS_INVALID");
  writeFileSync(join(rig.folder, "bad"), "{");
  await expect(start(join(rig.folder, "bad"))).rejects.toThrow("KUBERNETES_ACCESS_INVALID");
  writeFileSync(join(rig.folder, "empty"), "");
  await expect(start(join(rig.folder, "empty"))).rejects.toThrow("KUBERNETES_ACCESS_INVALID");
});
