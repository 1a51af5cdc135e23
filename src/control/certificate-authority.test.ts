import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { uriNamesOf } from "../net/subject-alt-names.ts";
import { MeshCertificateAuthority } from "./certificate-authority.ts";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";

const NOW = Date.UTC(2026, 2, 1, 12);
const DAY_MS = 86_400_000;
const ID = "spiffe://cluster.local/ns/default/sa/sleep";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "mesh-ca-"));
});

afterEach(() => rm(directory, { recursive: true }));

function pem(base64: string): string {
  return `-----BEGIN CERTIFICATE REQUEST-----\n${base64}\n-----END CERTIFICATE REQUEST-----`;
}

async function ecKey(namedCurve: string) {
  const algorithm = { name: "ECDSA", namedCurve };
  return (await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])).publicKey;
}

function openAuthority(nowMs = NOW) {
  const options = { directory, trustDomain: "cluster.local", now: () => nowMs };
  return MeshCertificateAuthority.open(options);
}

async function request(options: { uris?: string[]; name?: string } = {}) {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: algorithm,
    ...(options.name === undefined ? {} : { name: options.name }),
    extensions: (options.uris ?? []).map(
      (value) => new x509.SubjectAlternativeNameExtension([{ type: "url", value }], true),
    ),
  });
  return { csr, csrPem: csr.toString("pem") };
}

test("open() makes a root of the trust domain, and the same one is loaded the next time", async () => {
  const first = await openAuthority();
  const root = new X509Certificate(first.rootsPem);
  expect(root.subject).toBe("O=cluster.local");
  expect(root.issuer).toBe("O=cluster.local");
  expect(root.ca).toBe(true);
  expect(root.verify(root.publicKey)).toBe(true);
  expect(Date.parse(root.validTo)).toBe(NOW + 3650 * DAY_MS);
  const parsed = new x509.X509Certificate(first.rootsPem);
  const { keyCertSign, cRLSign } = x509.KeyUsageFlags;
  expect(parsed.getExtension(x509.KeyUsagesExtension)?.usages).toBe(keyCertSign | cRLSign);
  expect((await stat(join(directory, "root-key.pem"))).mode & 0o777).toBe(0o600);
  expect((await readdir(directory)).sort()).toEqual(["root-cert.pem", "root-key.pem"]);
  expect((await openAuthority()).rootsPem).toBe(first.rootsPem);
});

test("open() makes one root when several processes start in the same directory", async () => {
  const all = await Promise.all([openAuthority(), openAuthority(), openAuthority()]);
  expect(new Set(all.map((authority) => authority.rootsPem)).size).toBe(1);
  expect((await openAuthority()).rootsPem).toBe(all[0].rootsPem);
});

test("sign() makes a leaf as istiod does", async () => {
  const authority = await openAuthority();
  const { csr, csrPem } = await request({ uris: [ID] });
  const signed = await authority.sign({ csrPem, spiffeId: ID, ttlMs: DAY_MS });
  expect(signed.rootsPem).toBe(authority.rootsPem);
  const root = new X509Certificate(signed.rootsPem);
  const leaf = new X509Certificate(signed.chainPem);
  expect(leaf.subject ?? "").toBe("");
  expect(leaf.checkIssued(root)).toBe(true);
  expect(leaf.verify(root.publicKey)).toBe(true);
  expect(leaf.ca).toBe(false);
  expect(Date.parse(leaf.validFrom)).toBe(NOW - 120_000);
  expect(Date.parse(leaf.validTo)).toBe(NOW + DAY_MS);
  expect(uriNamesOf(leaf.raw)).toEqual([ID]);
  const parsed = new x509.X509Certificate(leaf.raw);
  expect(parsed.getExtension(x509.SubjectAlternativeNameExtension)?.critical).toBe(true);
  const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
  const usages = parsed.getExtension(x509.KeyUsagesExtension)?.usages;
  expect(usages).toBe(digitalSignature | keyEncipherment);
  expect(parsed.getExtension(x509.ExtendedKeyUsageExtension)?.usages).toEqual([
    x509.ExtendedKeyUsage.serverAuth,
    x509.ExtendedKeyUsage.clientAuth,
  ]);
  expect(Buffer.from(parsed.publicKey.rawData)).toEqual(Buffer.from(csr.publicKey.rawData));
  const again = await authority.sign({ csrPem, spiffeId: ID, ttlMs: DAY_MS });
  expect(new X509Certificate(again.chainPem).serialNumber).not.toBe(leaf.serialNumber);
});

test("sign() ignores the name and the identity that a request asks for", async () => {
  const authority = await openAuthority();
  const uris = ["spiffe://cluster.local/ns/kube-system/sa/admin"];
  const { csrPem } = await request({ uris, name: "CN=admin" });
  const { chainPem } = await authority.sign({ csrPem, spiffeId: ID, ttlMs: DAY_MS });
  const leaf = new X509Certificate(chainPem);
  expect(uriNamesOf(leaf.raw)).toEqual([ID]);
  expect(leaf.subject ?? "").toBe("");
});

test("sign() refuses a request whose signature is not its key's", async () => {
  const authority = await openAuthority();
  const { csr } = await request({ uris: [ID] });
  const raw = Buffer.from(csr.rawData);
  raw[raw.length - 1]! ^= 1;
  const forged = new x509.Pkcs10CertificateRequest(raw).toString("pem");
  const refused = { code: "CERTIFICATE_REQUEST_INVALID", message: /signature/ };
  await expect(authority.sign({ csrPem: forged, spiffeId: ID, ttlMs: DAY_MS })).rejects.toSatisfy(
    (e: { code: string; message: string }) =>
      e.code === refused.code && refused.message.test(e.message),
  );
});

test("sign() refuses what is no request, no workload, no lifetime", async () => {
  const authority = await openAuthority();
  const { csrPem } = await request();
  const valid = { csrPem, spiffeId: ID, ttlMs: DAY_MS };
  for (const [broken, code] of [
    [{ csrPem: "nonsense" }, "CERTIFICATE_REQUEST_INVALID"],
    [{ csrPem: "" }, "CERTIFICATE_REQUEST_INVALID"],
    [{ csrPem: pem("AAAA") }, "CERTIFICATE_REQUEST_INVALID"],
    [{ csrPem: csrPem + " ".repeat(16_384) }, "CERTIFICATE_REQUEST_INVALID"],
    [{ spiffeId: "spiffe://cluster.local/ns/default" }, "CERTIFICATE_UNAVAILABLE"],
    [{ spiffeId: "https://example.com" }, "CERTIFICATE_UNAVAILABLE"],
    [{ ttlMs: 0 }, "CERTIFICATE_UNAVAILABLE"],
    [{ ttlMs: Number.NaN }, "CERTIFICATE_UNAVAILABLE"],
  ] as const) {
    await expect(authority.sign({ ...valid, ...broken })).rejects.toMatchObject({ code });
  }
  await expect(authority.sign(valid)).resolves.toBeDefined();
});

const EC_KEY = { name: "ECDSA", hash: "SHA-256" };
const RSA_KEY = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
const EXPONENT = new Uint8Array([1, 0, 1]);

test.each([
  ["P-256", { ...EC_KEY, namedCurve: "P-256" }],
  ["P-384", { ...EC_KEY, namedCurve: "P-384" }],
  ["Ed25519", { name: "Ed25519" }],
  ["RSA 2048", { ...RSA_KEY, modulusLength: 2048, publicExponent: EXPONENT }],
  ["RSA 4096", { ...RSA_KEY, modulusLength: 4096, publicExponent: EXPONENT }],
])("sign() takes a key of %s", async (_, signingAlgorithm) => {
  const authority = await openAuthority();
  const keys = await crypto.subtle.generateKey(signingAlgorithm, true, ["sign", "verify"]);
  if (!("publicKey" in keys)) throw new Error("not a pair");
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm });
  const request = { csrPem: csr.toString("pem"), spiffeId: ID, ttlMs: DAY_MS };
  const leaf = new X509Certificate((await authority.sign(request)).chainPem);
  const spki = leaf.publicKey.export({ format: "der", type: "spki" });
  expect(spki).toEqual(Buffer.from(csr.publicKey.rawData));
});

/** An RSA key with a modulus and an exponent of so many bytes; nobody has its other half. */
function rsaKey(modulusBytes: number, exponentBytes: number) {
  const odd = (length: number) => Buffer.alloc(length, 0xf1).toString("base64url");
  const jwk = { kty: "RSA", n: odd(modulusBytes), e: odd(exponentBytes) };
  return crypto.subtle.importKey("jwk", jwk, RSA_KEY, true, ["verify"]);
}

test.each([
  ["P-521", () => ecKey("P-521"), /curve secp521r1, not P-256 or P-384/],
  ["RSA 1024", () => rsaKey(128, 1), /RSA key of 1024 bits/],
  ["RSA 8192", () => rsaKey(1024, 1), /RSA key of 8192 bits/],
  ["RSA with a long exponent", () => rsaKey(256, 200), /exponent of its RSA key is too large/],
])("sign() refuses a key of %s before it computes with it", async (_, makeKey, reason) => {
  const authority = await openAuthority();
  const { privateKey } = await crypto.subtle.generateKey({ ...EC_KEY, namedCurve: "P-256" }, true, [
    "sign",
    "verify",
  ]);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: { publicKey: await makeKey(), privateKey },
    signingAlgorithm: EC_KEY,
  });
  const request = { csrPem: csr.toString("pem"), spiffeId: ID, ttlMs: DAY_MS };
  await expect(authority.sign(request)).rejects.toThrow(reason);
});

test("sign() backdates a short life less", async () => {
  const authority = await openAuthority();
  const { csrPem } = await request();
  const { chainPem } = await authority.sign({ csrPem, spiffeId: ID, ttlMs: 20_000 });
  const leaf = new X509Certificate(chainPem);
  expect(Date.parse(leaf.validFrom)).toBe(NOW - 5_000);
  expect(Date.parse(leaf.validTo)).toBe(NOW + 20_000);
});

test("issueServer() names the server, and is no workload's", async () => {
  const authority = await openAuthority();
  const names = ["istiod.istio-system.svc", "127.0.0.1", "::1"];
  const issued = await authority.issueServer({ names, ttlMs: DAY_MS });
  const leaf = new X509Certificate(issued.certificatePem);
  expect(leaf.checkHost("istiod.istio-system.svc")).toBeDefined();
  expect(leaf.checkHost("istiod.istio-system")).toBeUndefined();
  expect(leaf.checkIP("127.0.0.1")).toBeDefined();
  expect(leaf.checkIP("::1")).toBeDefined();
  expect(uriNamesOf(leaf.raw)).toEqual([]);
  expect(leaf.checkPrivateKey(createPrivateKey(issued.keyPem))).toBe(true);
  expect(leaf.verify(new X509Certificate(authority.rootsPem).publicKey)).toBe(true);
  expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
});

test("sign() clamps the end of a leaf to the root's", async () => {
  await openAuthority();
  const lastWeek = NOW + 3645 * DAY_MS;
  const authority = await openAuthority(lastWeek);
  const { csrPem } = await request();
  const { chainPem } = await authority.sign({ csrPem, spiffeId: ID, ttlMs: 30 * DAY_MS });
  expect(Date.parse(new X509Certificate(chainPem).validTo)).toBe(NOW + 3650 * DAY_MS);
});

test("sign() works under an RSA root that was put into the directory", async () => {
  const algorithm = {
    name: "RSASSA-PKCS1-v1_5",
    hash: "SHA-256",
    publicExponent: new Uint8Array([1, 0, 1]),
    modulusLength: 2048,
  };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    keys,
    name: "O=corporate",
    notBefore: new Date(NOW - DAY_MS),
    notAfter: new Date(NOW + DAY_MS),
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  await writeFile(join(directory, "root-cert.pem"), root.toString("pem"));
  await writeFile(join(directory, "root-key.pem"), x509.PemConverter.encode(pkcs8, "PRIVATE KEY"));
  const authority = await openAuthority();
  const { csrPem } = await request();
  const { chainPem } = await authority.sign({ csrPem, spiffeId: ID, ttlMs: DAY_MS / 2 });
  const issuer = new X509Certificate(authority.rootsPem);
  expect(new X509Certificate(chainPem).verify(issuer.publicKey)).toBe(true);
});

test("open() refuses a root that cannot be used, with the file and the way out", async () => {
  await openAuthority();
  const certificatePath = join(directory, "root-cert.pem");
  const keyPath = join(directory, "root-key.pem");
  const [certificatePem, keyPem] = await Promise.all([
    readFile(certificatePath, "utf8"),
    readFile(keyPath, "utf8"),
  ]);
  const otherKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
    type: "pkcs8",
    format: "pem",
  }) as string;
  const leaf = (
    await (
      await openAuthority()
    ).sign({
      csrPem: (await request()).csrPem,
      spiffeId: ID,
      ttlMs: DAY_MS,
    })
  ).chainPem;
  const cases: readonly (readonly [string, string, number, RegExp])[] = [
    ["garbage", keyPem, NOW, /root-cert\.pem is not a PEM certificate/],
    [certificatePem, "garbage", NOW, /root-key\.pem is not a PEM private key/],
    [certificatePem, otherKey, NOW, /root-key\.pem does not belong to root-cert\.pem/],
    [leaf, keyPem, NOW, /root-key\.pem does not belong/],
    [certificatePem, keyPem, NOW + 3651 * DAY_MS, /root-cert\.pem has expired/],
    [certificatePem, keyPem, NOW - DAY_MS, /root-cert\.pem is valid only from .* clock/],
  ];
  for (const [certificate, key, nowMs, message] of cases) {
    await writeFile(certificatePath, certificate);
    await chmod(keyPath, 0o600);
    await writeFile(keyPath, key);
    const failure = await openAuthority(nowMs).catch((caught: unknown) => caught as Error);
    expect(failure).toMatchObject({ code: "CONFIGURATION_INVALID" });
    expect((failure as Error).message).toMatch(message);
    expect((failure as Error).message).toContain(`from ${directory}`);
  }
});

test("open() refuses half a root and leaves it alone", async () => {
  await openAuthority();
  const keyPem = await readFile(join(directory, "root-key.pem"), "utf8");
  await rm(join(directory, "root-cert.pem"));
  await expect(openAuthority()).rejects.toMatchObject({ code: "CONFIGURATION_INVALID" });
  expect(await readFile(join(directory, "root-key.pem"), "utf8")).toBe(keyPem);
  expect(createPrivateKey(keyPem).type).toBe("private");
});

test("open() refuses a root that did not sign itself", async () => {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const parent = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const intermediate = await x509.X509CertificateGenerator.create({
    publicKey: keys.publicKey,
    subject: "O=cluster.local",
    issuer: "O=somebody else",
    signingKey: parent.privateKey,
    signingAlgorithm: algorithm,
    notBefore: new Date(NOW - DAY_MS),
    notAfter: new Date(NOW + DAY_MS),
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  await writeFile(join(directory, "root-cert.pem"), intermediate.toString("pem"));
  await writeFile(join(directory, "root-key.pem"), x509.PemConverter.encode(pkcs8, "PRIVATE KEY"));
  const failure = await openAuthority().catch((caught: unknown) => caught as Error);
  expect((failure as Error).message).toMatch(/root-cert\.pem is not self-signed/);
});
