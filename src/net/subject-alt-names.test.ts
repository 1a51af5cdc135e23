import { type webcrypto, X509Certificate } from "node:crypto";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { spiffeIdsOf, trustDomainOf, uriNamesOf } from "./subject-alt-names.ts";

let keys: webcrypto.CryptoKeyPair;

beforeAll(async () => {
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
});

async function certificate(extensions: x509.Extension[]): Promise<Buffer> {
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    keys,
    name: "O=test",
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    extensions,
  });
  return Buffer.from(made.rawData);
}

function names(...values: [x509.GeneralNameType, string][]): x509.Extension {
  const general = values.map(([type, value]) => ({ type, value }));
  return new x509.SubjectAlternativeNameExtension(general as x509.JsonGeneralNames, true);
}

describe("uriNamesOf()", () => {
  test("reads the URIs, in order, among other names and extensions", async () => {
    const bytes = await certificate([
      new x509.BasicConstraintsExtension(false, undefined, true),
      names(
        ["dns", "spiffe://td/ns/a/sa/b"],
        ["url", "https://example.com"],
        ["url", "spiffe://td/ns/a/sa/b"],
        ["ip", "10.0.0.1"],
        ["url", "spiffe://td/ns/c/sa/d"],
      ),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    ]);
    const uris = ["https://example.com", "spiffe://td/ns/a/sa/b", "spiffe://td/ns/c/sa/d"];
    expect(uriNamesOf(bytes)).toEqual(uris);
    expect(spiffeIdsOf(bytes)).toEqual(uris.slice(1));
  });

  test("is not taken in by a name that looks like a list of names", async () => {
    const trick = "spiffe://td/ns/a/sa/b, URI:spiffe://td/ns/admin/sa/admin";
    const bytes = await certificate([names(["dns", trick], ["url", trick])]);
    expect(new X509Certificate(bytes).subjectAltName).toContain("URI:spiffe://td/ns/admin");
    expect(spiffeIdsOf(bytes)).toEqual([]);
  });

  test("finds none in a certificate without names", async () => {
    expect(uriNamesOf(await certificate([]))).toEqual([]);
  });

  test("finds none when the names are given twice", async () => {
    const one = names(["url", "spiffe://td/ns/a/sa/b"]);
    const two = names(["url", "spiffe://td/ns/c/sa/d"]);
    expect(uriNamesOf(await certificate([one, two]))).toEqual([]);
  });

  test("never throws, and invents no name, whatever the bytes are", async () => {
    const bytes = await certificate([names(["url", "spiffe://td/ns/a/sa/b"])]);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
        const broken = Buffer.from(bytes);
        broken[at] = value;
        expect(uriNamesOf(broken).length).toBeLessThanOrEqual(1);
        expect(uriNamesOf(bytes.subarray(0, at))).toEqual([]);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (random) => {
        expect(uriNamesOf(Buffer.from(random))).toEqual([]);
      }),
    );
  });
});

describe("trustDomainOf()", () => {
  test("takes exactly a workload's id", () => {
    expect(trustDomainOf("spiffe://cluster.local/ns/default/sa/sleep")).toBe("cluster.local");
    for (const uri of [
      "spiffe://cluster.local",
      "spiffe://cluster.local/ns/default",
      "spiffe://cluster.local/ns/default/sa/",
      "spiffe://cluster.local/ns//sa/sleep",
      "spiffe:///ns/default/sa/sleep",
      "spiffe://cluster.local/ns/default/sa/sleep/more",
      "SPIFFE://cluster.local/ns/default/sa/sleep",
      "https://cluster.local/ns/default/sa/sleep",
      "spiffe://cluster.local/sa/default/ns/sleep",
    ]) {
      expect(trustDomainOf(uri), uri).toBeUndefined();
    }
  });
});
