import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { GrpcPeer } from "../../../test/support/grpc-peer.ts";
import { indexOf, makeWorkload, smallMesh } from "../../../test/support/small-mesh.ts";
import { CaClient } from "../../agent/ca-client.ts";
import { Certificates } from "../../agent/certificates.ts";
import { log } from "../../kit/log.ts";
import { MetricRegistry } from "../../telemetry/metrics.ts";
import { IstioCertificateService } from "../../wire/gen/istio/ca_pb.ts";
import { MeshCertificateAuthority } from "../certificate-authority.ts";
import { CertificateService } from "./certificate-service.ts";
import { ServerCertificate } from "./server-certificate.ts";
import { LocalTokens, type TokenSubject } from "./tokens.ts";

const HOUR_MS = 3_600_000;
const ZTUNNEL = { namespace: "istio-system", serviceAccount: "ztunnel", node: "node-1" };
const SLEEP = "spiffe://cluster.local/ns/default/sa/sleep";

const registry = new MetricRegistry();
const logger = log("test");
logger.level = "silent";

let directory: string;
let authority: MeshCertificateAuthority;
let tokens: LocalTokens;
let peer: GrpcPeer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "certificate-service-"));
  authority = await MeshCertificateAuthority.open({ directory, trustDomain: "cluster.local" });
  tokens = await LocalTokens.open(directory);
  const here = makeWorkload("sleep", "10.0.0.1", { node: "node-1" });
  const there = makeWorkload("admin", "10.0.0.2", { node: "node-2" });
  const proxy = makeWorkload("ztunnel-7", "10.0.0.3", {
    node: "node-1",
    namespace: "istio-system",
    serviceAccount: "ztunnel",
  });
  const nowhere = makeWorkload("lost", "10.0.0.4");
  const workloads = indexOf({ here, there, proxy, nowhere });
  const snapshots = { current: { ...smallMesh(), workloads } };
  const service = new CertificateService({
    authority,
    authenticator: tokens,
    snapshots,
    registry,
    log: logger,
  });
  const { current } = await ServerCertificate.issue({ authority, names: ["localhost"] });
  peer = await GrpcPeer.listen(service.routes, current);
});

afterAll(async () => {
  await peer.close();
  await rm(directory, { recursive: true });
});

function authorization(token: string): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${token}` };
}

function caClient(subject: TokenSubject, impersonates: boolean): CaClient {
  const transport = async () => peer.transport(authority.rootsPem);
  const headers = async () => authorization(await tokens.issue(subject, HOUR_MS));
  return new CaClient({ channel: { transport, headers }, impersonates });
}

/** Through all of it: key and request made, signed over the wire, checked, fit for handshakes. */
async function obtain(ca: CaClient, spiffeId: string, ttlMs = HOUR_MS) {
  const certificates = new Certificates(ca, { ttlMs, log: logger });
  try {
    return await certificates.get(spiffeId);
  } finally {
    certificates.close();
  }
}

function counted(result: string): number {
  const line = [...registry.exposition()]
    .join("")
    .match(`waystone_ca_requests_total{result="${result}"} (\\d+)`);
  return Number(line?.[1] ?? 0);
}

test("a proxy obtains its own identity's certificate with its token", async () => {
  const before = counted("issued");
  const waypoint = { namespace: "default", serviceAccount: "wp" };
  const spiffeId = "spiffe://cluster.local/ns/default/sa/wp";
  const identity = await obtain(caClient(waypoint, false), spiffeId);
  expect(identity.spiffeId).toBe(spiffeId);
  expect(identity.rootsPem.trim()).toBe(authority.rootsPem.trim());
  expect(identity.notAfterMs - Date.now()).toBeLessThanOrEqual(HOUR_MS);
  expect(identity.notAfterMs - Date.now()).toBeGreaterThan(HOUR_MS - 60_000);
  expect(counted("issued")).toBe(before + 1);
});

test("a token's own identity is signed, whatever the proxy hopes for", async () => {
  const waypoint = { namespace: "default", serviceAccount: "wp" };
  await expect(obtain(caClient(waypoint, false), SLEEP)).rejects.toThrow(
    /signed .*\/sa\/wp instead/,
  );
});

test("a node's proxy obtains the certificates of workloads on its node", async () => {
  const identity = await obtain(caClient(ZTUNNEL, true), SLEEP);
  expect(identity.spiffeId).toBe(SLEEP);
});

test("a node's proxy may be known by its Pod in the place of its node", async () => {
  const byPod = { ...ZTUNNEL, node: undefined, podName: "ztunnel-7" };
  expect((await obtain(caClient(byPod, true), SLEEP)).spiffeId).toBe(SLEEP);
});

test.each([
  ["an account that is not trusted", { ...ZTUNNEL, serviceAccount: "other" }, SLEEP],
  ["the account's name in another namespace", { ...ZTUNNEL, namespace: "default" }, SLEEP],
  ["a workload of another node", ZTUNNEL, "spiffe://cluster.local/ns/default/sa/admin"],
  ["a workload on no node", ZTUNNEL, "spiffe://cluster.local/ns/default/sa/lost"],
  ["nobody", ZTUNNEL, "spiffe://cluster.local/ns/default/sa/nobody"],
  ["what is no identity", ZTUNNEL, "spiffe://cluster.local/ns/default"],
  ["a token without node and Pod", { ...ZTUNNEL, node: undefined }, SLEEP],
  ["a Pod that is unknown", { ...ZTUNNEL, node: undefined, podName: "ztunnel-8" }, SLEEP],
  [
    "a Pod of another account",
    { ...ZTUNNEL, node: undefined, podName: "sleep", namespace: "istio-system" },
    SLEEP,
  ],
])("impersonation is refused to %s, without a reason", async (_, subject, spiffeId) => {
  const before = counted("impersonation_refused");
  await expect(obtain(caClient(subject, true), spiffeId)).rejects.toThrow(
    "the CA refuses: request impersonation authentication failure",
  );
  expect(counted("impersonation_refused")).toBe(before + 1);
});

/** A call as any client can make it. */
async function call(request: object, headers: Record<string, string> = {}) {
  const client = createClient(IstioCertificateService, peer.transport(authority.rootsPem));
  return await client.createCertificate(request, { headers });
}

test("without a valid token nothing is signed", async () => {
  const before = counted("unauthenticated");
  const refused = { code: 16, rawMessage: "request authenticate failure" };
  await expect(call({ csr: "x" })).rejects.toMatchObject(refused);
  await expect(call({ csr: "x" }, authorization("x"))).rejects.toMatchObject(refused);
  const expired = await tokens.issue(ZTUNNEL, -HOUR_MS);
  await expect(call({ csr: "x" }, authorization(expired))).rejects.toMatchObject(refused);
  expect(counted("unauthenticated")).toBe(before + 3);
});

test("the chain is leaf, then all roots; no lifetime means a day", async () => {
  const csr = await request();
  const headers = authorization(await tokens.issue(ZTUNNEL, HOUR_MS));
  const { certChain } = await call({ csr }, headers);
  expect(certChain).toHaveLength(2);
  expect(certChain[1]).toBe(authority.rootsPem);
  const leaf = new X509Certificate(certChain[0]!);
  expect(leaf.verify(new X509Certificate(authority.rootsPem).publicKey)).toBe(true);
  const life = Date.parse(leaf.validTo) - Date.now();
  expect(Math.abs(life - 24 * HOUR_MS)).toBeLessThan(60_000);
});

test("a lifetime of up to 90 days is granted, a longer one is an error", async () => {
  const csr = await request();
  const headers = authorization(await tokens.issue(ZTUNNEL, HOUR_MS));
  const longest = 90n * 24n * 3600n;
  const { certChain } = await call({ csr, validityDuration: longest }, headers);
  const life = Date.parse(new X509Certificate(certChain[0]!).validTo) - Date.now();
  expect(Math.abs(life - Number(longest) * 1000)).toBeLessThan(60_000);
  for (const validityDuration of [longest + 1n, 2n ** 63n - 1n]) {
    await expect(call({ csr, validityDuration }, headers)).rejects.toMatchObject({ code: 3 });
  }
  await expect(call({ csr, validityDuration: -5n }, headers)).resolves.toBeDefined();
});

test("a broken request is refused, and is the caller's mistake", async () => {
  const headers = authorization(await tokens.issue(ZTUNNEL, HOUR_MS));
  const before = counted("request_refused");
  for (const csr of ["", "nonsense", "A".repeat(200_000)]) {
    const refused = { code: 3, rawMessage: "the certificate request is refused" };
    await expect(call({ csr }, headers)).rejects.toMatchObject(refused);
  }
  expect(counted("request_refused")).toBe(before + 3);
});

test("an identity in the metadata that is no text is refused", async () => {
  const headers = authorization(await tokens.issue(ZTUNNEL, HOUR_MS));
  for (const ImpersonatedIdentity of [7, null, [SLEEP], { a: SLEEP }]) {
    const metadata = { ImpersonatedIdentity };
    await expect(call({ csr: await request(), metadata }, headers)).rejects.toMatchObject({
      code: 16,
    });
  }
});

test("a CA that cannot sign costs the call, and says nothing of why", async () => {
  const failing = new CertificateService({
    authority: { sign: () => Promise.reject(new Error("the disk is on fire")) },
    authenticator: tokens,
    snapshots: { current: smallMesh() },
    registry,
    log: logger,
  });
  const { current } = await ServerCertificate.issue({ authority, names: ["localhost"] });
  const other = await GrpcPeer.listen(failing.routes, current);
  const client = createClient(IstioCertificateService, other.transport(authority.rootsPem));
  const headers = authorization(await tokens.issue(ZTUNNEL, HOUR_MS));
  const calling = client.createCertificate({ csr: await request() }, { headers });
  const told = { code: 13, rawMessage: "the certificate cannot be issued" };
  await expect(calling).rejects.toMatchObject(told);
  expect(counted("failed")).toBe(1);
  await other.close();
});

test("a control plane with another root is not believed", async () => {
  const other = await mkdtemp(join(tmpdir(), "other-mesh-"));
  const stranger = await MeshCertificateAuthority.open({
    directory: other,
    trustDomain: "cluster.local",
  });
  const transport = async () => peer.transport(stranger.rootsPem);
  const ca = new CaClient({
    channel: { transport, headers: async () => ({}) },
    impersonates: true,
  });
  await expect(obtain(ca, SLEEP)).rejects.toMatchObject({ code: "CERTIFICATE_UNAVAILABLE" });
  await rm(other, { recursive: true });
});

async function request(): Promise<string> {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const spki = publicKey.export({ format: "der", type: "spki" });
  const pkcs8 = privateKey.export({ format: "der", type: "pkcs8" });
  const keys = {
    publicKey: await crypto.subtle.importKey("spki", spki, algorithm, true, ["verify"]),
    privateKey: await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, true, ["sign"]),
  };
  const options = { keys, signingAlgorithm: algorithm };
  return (await x509.Pkcs10CertificateRequestGenerator.create(options)).toString("pem");
}

test("refusals are logged with their reason, a flood of them in part", async () => {
  const warnings = vi.spyOn(logger, "warn");
  const client = createClient(IstioCertificateService, peer.transport(authority.rootsPem));
  const calls = Array.from({ length: 40 }, () => client.createCertificate({ csr: "x" }));
  expect((await Promise.allSettled(calls)).every(({ status }) => status === "rejected")).toBe(true);
  // Beside them comes what a test before has left out.
  const refusals = warnings.mock.calls.filter(([, text]) => text === "certificate refused");
  expect(refusals.length).toBeGreaterThan(0);
  expect(refusals.length).toBeLessThan(20);
  expect(refusals[0]![0]).toEqual({ reason: expect.stringContaining("no bearer token") });
  warnings.mockRestore();
});
