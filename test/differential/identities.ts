/** A root and certificates with SPIFFE ids, of any trust domain. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { Certified } from "./envoy-judge.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
type KeyPair = webcrypto.CryptoKeyPair;

export class Root {
  readonly pem: string;
  readonly #keys: KeyPair;
  readonly #certificate: x509.X509Certificate;
  #serial = 1;

  private constructor(keys: KeyPair, certificate: x509.X509Certificate) {
    this.#keys = keys;
    this.#certificate = certificate;
    this.pem = certificate.toString("pem");
  }

  static async make(): Promise<Root> {
    x509.cryptoProvider.set(webcrypto as never);
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: "CN=root",
      serialNumber: "01",
      ...validity(),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
    });
    return new Root(keys, certificate);
  }

  async issue(uri: string): Promise<Certified> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject: "",
      issuer: this.#certificate.subject,
      serialNumber: (++this.#serial).toString(16).padStart(2, "0"),
      ...validity(),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: "url", value: uri }])],
    });
    const key = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
    const keyPem = x509.PemConverter.encode(key, "PRIVATE KEY");
    return { certificatePem: certificate.toString("pem"), keyPem };
  }
}

function newKeys(): Promise<KeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]) as Promise<KeyPair>;
}

function validity() {
  return {
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
  };
}
