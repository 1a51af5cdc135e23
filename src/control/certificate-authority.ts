/**
 * The mesh's own certificate authority: one root, and the leaves it signs for workloads.
 *
 * The root lives in the state directory (root-store.ts) and is made there when the directory has
 * none. Leaves are as istiod signs them (protocols.md §2): of a request only the proven public key
 * counts. The control plane's own server certificate hangs on the same root, with host names in
 * the place of an identity, so that no proxy can take one for the other.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { CertificateAuthority } from "../agent/certificates.ts";
import { Failure } from "../kit/failure.ts";
import { parseIdentity } from "../model/identity.ts";
import { provenKey } from "./certificate-request.ts";
import { type Root, RootStore } from "./root-store.ts";
import { BACKDATE_MS, EC, loadX509, newSerialNumber, RSA, type X509 } from "./x509.ts";

export interface CertificateAuthorityOptions {
  /** Where the root is kept; made (mode 0700) when it does not exist. */
  readonly directory: string;
  /** The organisation of a root that has to be made. */
  readonly trustDomain: string;
  /** Milliseconds since the epoch; for tests. */
  readonly now?: () => number;
}

export class MeshCertificateAuthority implements CertificateAuthority {
  readonly #now: () => number;
  readonly #listeners = new Set<() => void>();
  #root: Root;
  #rootsPem: string;
  #notAfterMs: number;
  #signer: Promise<Signer> | undefined;

  constructor(root: Root, now: () => number = Date.now) {
    this.#root = root;
    this.#rootsPem = rootsOf(root);
    this.#notAfterMs = endOf(root);
    this.#now = now;
  }

  /** What the holders of its certificates are to trust. */
  get rootsPem(): string {
    return this.#rootsPem;
  }

  /** It signs until then. */
  get rootNotAfterMs(): number {
    return this.#notAfterMs;
  }

  /** Signs with this from now on, and tells these roots. */
  use(root: Root, rootsPem: string): void {
    const isOther = rootsPem !== this.#rootsPem || root !== this.#root;
    if (root !== this.#root) this.#signer = undefined;
    this.#root = root;
    this.#rootsPem = rootsPem;
    this.#notAfterMs = endOf(root);
    if (isOther) for (const listener of [...this.#listeners]) listener();
  }

  /** Calls back when it signs with another key, or tells other roots. */
  onRoots(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Loads the root from the directory, or makes one there. */
  static async open(options: CertificateAuthorityOptions): Promise<MeshCertificateAuthority> {
    const now = options.now ?? Date.now;
    const store = new RootStore(options.directory);
    const root = (await store.load()) ?? (await store.create(options.trustDomain, now()));
    store.check(root, now());
    return new MeshCertificateAuthority(root, now);
  }

  async sign(request: {
    csrPem: string;
    spiffeId: string;
    ttlMs: number;
  }): Promise<{ chainPem: string; rootsPem: string }> {
    const { spiffeId, ttlMs } = request;
    if (parseIdentity(spiffeId) === undefined) throw refusal(`${spiffeId} is not a workload's`);
    if (!(ttlMs > 0)) throw refusal(`a lifetime of ${ttlMs} ms`);
    const x509 = await loadX509();
    const publicKey = await provenKey(x509, request.csrPem);
    const chainPem = await this.#issue({
      publicKey,
      ttlMs,
      usages: [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
      names: [{ type: "url", value: spiffeId }],
    });
    const { intermediatesPem = "" } = this.#root;
    return { chainPem: chainPem + intermediatesPem, rootsPem: this.#rootsPem };
  }

  /** A fresh key and a certificate for it that a server shows under these names or addresses. */
  async issueServer(request: {
    names: readonly string[];
    ttlMs: number;
  }): Promise<{ certificatePem: string; keyPem: string }> {
    const x509 = await loadX509();
    const keys = await crypto.subtle.generateKey(EC, true, ["sign", "verify"]);
    const certificatePem = await this.#issue({
      publicKey: keys.publicKey,
      ttlMs: request.ttlMs,
      usages: [x509.ExtendedKeyUsage.serverAuth],
      names: request.names.map((value) => ({ type: isIP(value) ? "ip" : "dns", value })),
    });
    const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
    const { intermediatesPem = "" } = this.#root;
    return {
      certificatePem: certificatePem + intermediatesPem,
      keyPem: x509.PemConverter.encode(pkcs8, "PRIVATE KEY"),
    };
  }

  async #issue(leaf: Omit<LeafOptions, "validity"> & { ttlMs: number }): Promise<string> {
    const nowMs = this.#now();
    if (nowMs >= this.rootNotAfterMs) throw refusal("the root certificate has expired");
    this.#signer ??= makeSigner(this.#root.certificatePem, this.#root.keyPem);
    const signer = await this.#signer;
    // A short life is backdated less: who renews at half of it would else do so at once, for ever.
    const notBefore = new Date(nowMs - Math.min(BACKDATE_MS, leaf.ttlMs / 4));
    const notAfter = new Date(Math.min(nowMs + leaf.ttlMs, this.rootNotAfterMs));
    return await signer.sign({ ...leaf, validity: { notBefore, notAfter } });
  }
}

export function rootsOf({ rootsPem, certificatePem }: Root): string {
  return rootsPem ?? certificatePem;
}

function endOf({ certificatePem }: Root): number {
  return Date.parse(new X509Certificate(certificatePem).validTo);
}

function refusal(detail: string): Failure {
  return new Failure("CERTIFICATE_UNAVAILABLE", `the CA does not sign: ${detail}`);
}

type GeneratorKey = Parameters<X509["X509CertificateGenerator"]["create"]>[0]["publicKey"];

interface LeafOptions {
  readonly publicKey: NonNullable<GeneratorKey>;
  readonly validity: { readonly notBefore: Date; readonly notAfter: Date };
  readonly usages: readonly string[];
  readonly names: readonly { readonly type: "url" | "dns" | "ip"; readonly value: string }[];
}

interface Signer {
  sign(leaf: LeafOptions): Promise<string>;
}

async function makeSigner(rootPem: string, keyPem: string): Promise<Signer> {
  const x509 = await loadX509();
  const root = new x509.X509Certificate(rootPem);
  const key = createPrivateKey(keyPem);
  const algorithm = key.asymmetricKeyType === "rsa" ? RSA : { ...EC, namedCurve: curveOf(keyPem) };
  const pkcs8 = key.export({ format: "der", type: "pkcs8" });
  const signingKey = await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]);
  const issuerKeyId = await x509.AuthorityKeyIdentifierExtension.create(root.publicKey);
  const { KeyUsageFlags } = x509;
  const keyUsages = KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment;
  return {
    async sign({ publicKey, validity, usages, names }) {
      const leaf = await x509.X509CertificateGenerator.create({
        publicKey,
        issuer: root.subjectName,
        serialNumber: newSerialNumber(),
        ...validity,
        signingKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.KeyUsagesExtension(keyUsages, true),
          new x509.ExtendedKeyUsageExtension([...usages]),
          new x509.BasicConstraintsExtension(false, undefined, true),
          issuerKeyId,
          // Critical because there is no subject (RFC 5280 §4.2.1.6).
          new x509.SubjectAlternativeNameExtension([...names], true),
        ],
      });
      return `${leaf.toString("pem")}\n`;
    },
  };
}

function curveOf(keyPem: string): string {
  const { namedCurve } = createPrivateKey(keyPem).asymmetricKeyDetails ?? {};
  if (namedCurve === "prime256v1") return "P-256";
  if (namedCurve === "secp384r1") return "P-384";
  throw refusal("root-key.pem is neither RSA nor on the curves P-256 and P-384");
}
