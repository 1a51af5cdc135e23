import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { testCa, testCsr } from "../../../test/support/certificate-chains.ts";
import { MeshCertificateAuthority } from "../certificate-authority.ts";
import type { Query, WriteKind, Written } from "../source/kubernetes/kube-client.ts";
import { CaSecret } from "./ca-secret.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const ID = "spiffe://cluster.local/ns/shop/sa/cart";

/** The Secrets of a namespace. */
class Secrets {
  readonly secrets = new Map<string, { metadata: object; data: Record<string, string> }>();
  #version = 0;

  put(name: string, texts: Record<string, string>): void {
    const data = Object.fromEntries(
      Object.entries(texts).map(([key, text]) => [key, base64(text)]),
    );
    const metadata = { name, resourceVersion: String(++this.#version) };
    this.secrets.set(name, { metadata, data });
  }

  readonly client = {
    get: async (path: string): Promise<Written> => {
      const body = this.secrets.get(path.slice(path.lastIndexOf("/") + 1));
      return body === undefined ? refusal(404) : { body };
    },
    write: async (
      kind: WriteKind,
      path: string,
      _query: Query,
      given: unknown,
    ): Promise<Written> => {
      expect([kind, path]).toEqual(["create", "/api/v1/namespaces/istio-system/secrets"]);
      const { metadata, data } = given as {
        metadata: { name: string };
        data: Record<string, string>;
      };
      if (this.secrets.has(metadata.name)) return refusal(409);
      const body = { metadata: { ...metadata, resourceVersion: String(++this.#version) }, data };
      this.secrets.set(metadata.name, body);
      return { body };
    },
  };
}

const refusal = (status: number): Written => ({
  isRefusal: true,
  status,
  message: "no",
  retryAfterMs: 0,
});

const caOf = (secrets: Secrets, now = Date.now) =>
  new CaSecret({ client: secrets.client, namespace: "istio-system", now });

test("several that start at once have one root, and it is there the next time", async () => {
  const secrets = new Secrets();
  const roots = await Promise.all([1, 2, 3].map(() => caOf(secrets).open("cluster.local")));
  expect(new Set(roots.map(({ certificatePem }) => certificatePem)).size).toBe(1);
  expect(await caOf(secrets).open("cluster.local")).toEqual(roots[0]);
  expect(new X509Certificate(roots[0]!.certificatePem).subject).toBe("O=cluster.local");
});

test("`cacerts` goes before the root that was made; its chain leads to its root", async () => {
  const secrets = new Secrets();
  await caOf(secrets).open("cluster.local");
  const root = await testCa("company");
  const middle = await testCa("mesh", { issuer: root });
  const signing = await testCa("cluster", { issuer: middle });
  secrets.put("cacerts", {
    "ca-cert.pem": signing.certificatePem,
    "ca-key.pem": signing.keyPem,
    "cert-chain.pem": signing.certificatePem + middle.certificatePem + root.certificatePem,
    "root-cert.pem": root.certificatePem,
  });
  const authority = new MeshCertificateAuthority(await caOf(secrets).open("cluster.local"));
  const { chainPem, rootsPem } = await authority.sign({
    csrPem: await testCsr(),
    spiffeId: ID,
    ttlMs: 60_000,
  });
  const chain = chainPem
    .split(/(?<=-----END CERTIFICATE-----\n)/)
    .map((pem) => new X509Certificate(pem));
  expect(chain.map(({ issuer }) => issuer)).toEqual(["O=cluster", "O=mesh", "O=company"]);
  for (const [i, one] of chain.entries()) {
    const issuer = chain[i + 1] ?? new X509Certificate(rootsPem);
    expect(one.checkIssued(issuer) && one.verify(issuer.publicKey)).toBe(true);
  }
  expect(rootsPem).toBe(root.certificatePem);
});

test("a TLS Secret's names do as well, and a key in the old form", async () => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  expect(privateKey.export({ format: "pem", type: "pkcs1" })).toContain("RSA PRIVATE KEY");
  const secrets = new Secrets();
  const root = await testCa("company");
  const signing = await testCa("cluster", { issuer: root });
  secrets.put("cacerts", {
    "tls.crt": signing.certificatePem,
    "tls.key": signing.keyPem,
    "ca.crt": root.certificatePem,
  });
  const found = await caOf(secrets).open("cluster.local");
  expect(found).toMatchObject({
    intermediatesPem: signing.certificatePem,
    rootsPem: root.certificatePem,
  });
});

test("what cannot sign is refused, with what to do", async () => {
  const root = await testCa("root");
  const other = await testCa("other");
  const leaf = await testCa("leaf", { isCa: false });
  const under = await testCa("under", { issuer: other });
  const day = (n: number) => new Date(Date.now() + n * 86_400_000);
  const old = await testCa("old", { validity: { notBefore: day(-9), notAfter: day(-1) } });
  const early = await testCa("early", { validity: { notBefore: day(1), notAfter: day(9) } });
  const [cert, key] = ["ca-cert.pem", "ca-key.pem"];
  const cases: readonly (readonly [string, Record<string, string>])[] = [
    ["neither ca-cert.pem", {}],
    ["neither ca-cert.pem", { [cert]: root.certificatePem }],
    ["no PEM certificate", { [cert]: "nonsense", [key]: root.keyPem }],
    ["no PEM private key", { [cert]: root.certificatePem, [key]: "nonsense" }],
    ["does not belong", { [cert]: root.certificatePem, [key]: other.keyPem }],
    ["is no CA's", { [cert]: leaf.certificatePem, [key]: leaf.keyPem }],
    ["has expired", { [cert]: old.certificatePem, [key]: old.keyPem }],
    ["is the clock right?", { [cert]: early.certificatePem, [key]: early.keyPem }],
    [
      "does not lead",
      { [cert]: under.certificatePem, [key]: under.keyPem, "root-cert.pem": root.certificatePem },
    ],
  ];
  for (const [why, texts] of cases) {
    const secrets = new Secrets();
    secrets.put("cacerts", texts);
    const failure = await caOf(secrets)
      .open("cluster.local")
      .then(
        () => "",
        (caught: Error) => caught.message,
      );
    expect(failure).toContain(why);
    expect(failure).toContain("Secret istio-system/cacerts");
    expect(failure).toContain("correct it, or remove it");
  }
});

test("what is there now is found, and when it goes there is none", async () => {
  const secrets = new Secrets();
  const secret = caOf(secrets);
  const first = await secret.open("cluster.local");
  expect(await secret.find()).toEqual(first);
  secrets.put("cacerts", { "ca-cert.pem": "nonsense", "ca-key.pem": "nonsense" });
  await expect(secret.find()).rejects.toThrow(/cacerts/);
  const next = await testCa("next");
  secrets.put("cacerts", { "ca-cert.pem": next.certificatePem, "ca-key.pem": next.keyPem });
  expect(await secret.find()).toMatchObject({ certificatePem: next.certificatePem });
  secrets.secrets.clear();
  expect(await secret.find()).toBeUndefined();
});
