/** CAs for tests: roots, and what hangs on them. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;

export interface TestCa {
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly keys: webcrypto.CryptoKeyPair;
}

export interface TestCaOptions {
  readonly issuer?: TestCa;
  readonly isCa?: boolean;
  readonly validity?: { readonly notBefore: Date; readonly notAfter: Date };
}

/** Self-signed without an issuer. */
export async function testCa(name: string, options: TestCaOptions = {}): Promise<TestCa> {
  const { issuer, isCa = true } = options;
  const nowMs = Date.now();
  const { notBefore, notAfter } = options.validity ?? {
    notBefore: new Date(nowMs - DAY_MS),
    notAfter: new Date(nowMs + DAY_MS * 30),
  };
  const keys = (await webcrypto.subtle.generateKey(EC, true, [
    "sign",
    "verify",
  ])) as webcrypto.CryptoKeyPair;
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `O=${name}`,
    issuer:
      issuer === undefined ? `O=${name}` : new x509.X509Certificate(issuer.certificatePem).subject,
    publicKey: keys.publicKey,
    signingKey: (issuer ?? { keys }).keys.privateKey,
    signingAlgorithm: EC,
    notBefore,
    notAfter,
    extensions: [new x509.BasicConstraintsExtension(isCa, undefined, true)],
  });
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    certificatePem: `${certificate.toString("pem")}\n`,
    keyPem: x509.PemConverter.encode(pkcs8, "PRIVATE KEY"),
    keys,
  };
}

/** A request for a certificate, as a proxy makes it. */
export async function testCsr(): Promise<string> {
  const keys = await webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    keys: keys as webcrypto.CryptoKeyPair,
    signingAlgorithm: EC,
  });
  return csr.toString("pem");
}
