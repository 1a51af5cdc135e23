/**
 * The cluster's own root, what it signs, and the key of its service-account tokens.
 *
 * Kubernetes reads a client's user from the common name and its groups from the organizations
 * (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates),
 * so the subject is all that a client's certificate says.
 */
import { generateKeyPairSync, webcrypto } from "node:crypto";
import { EC, loadX509, newSerialNumber, type X509 } from "../../src/control/x509.ts";

type Keys = webcrypto.CryptoKeyPair;

export interface Certified {
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface ClusterUser {
  readonly name: string;
  readonly groups?: readonly string[];
}

export class ClusterCertificates {
  readonly rootPem: string;
  /** Signs tokens; the API server verifies with the same. */
  readonly tokenKeyPem: string;
  readonly #x509: X509;
  readonly #keys: Keys;

  private constructor(x509: X509, keys: Keys, rootPem: string) {
    this.#x509 = x509;
    this.#keys = keys;
    this.rootPem = rootPem;
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.tokenKeyPem = privateKey.export({ type: "sec1", format: "pem" }) as string;
  }

  static async make(): Promise<ClusterCertificates> {
    const x509 = await loadX509();
    const keys = await newKeys();
    const root = await x509.X509CertificateGenerator.createSelfSigned({
      name: "CN=kubernetes",
      serialNumber: newSerialNumber(),
      ...validity(),
      signingAlgorithm: EC,
      keys,
      extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
    });
    return new ClusterCertificates(x509, keys, root.toString("pem"));
  }

  server(addresses: readonly string[], names: readonly string[]): Promise<Certified> {
    const alternatives = [
      ...addresses.map((value) => ({ type: "ip" as const, value })),
      ...names.map((value) => ({ type: "dns" as const, value })),
    ];
    return this.#sign(
      [{ CN: ["kube-apiserver"] }],
      [
        new this.#x509.ExtendedKeyUsageExtension([this.#x509.ExtendedKeyUsage.serverAuth]),
        new this.#x509.SubjectAlternativeNameExtension(alternatives),
      ],
    );
  }

  client({ name, groups = [] }: ClusterUser): Promise<Certified> {
    return this.#sign(
      [{ CN: [name] }, ...groups.map((group) => ({ O: [group] }))],
      [new this.#x509.ExtendedKeyUsageExtension([this.#x509.ExtendedKeyUsage.clientAuth])],
    );
  }

  async #sign(
    subject: Record<string, string[]>[],
    extensions: InstanceType<X509["Extension"]>[],
  ): Promise<Certified> {
    const keys = await newKeys();
    const certificate = await this.#x509.X509CertificateGenerator.create({
      subject,
      issuer: "CN=kubernetes",
      serialNumber: newSerialNumber(),
      ...validity(),
      signingAlgorithm: EC,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      extensions,
    });
    const key = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
    const keyPem = this.#x509.PemConverter.encode(key, "PRIVATE KEY");
    return { certificatePem: certificate.toString("pem"), keyPem };
  }
}

function newKeys(): Promise<Keys> {
  return webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]) as Promise<Keys>;
}

function validity() {
  return {
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 86_400_000),
  };
}
