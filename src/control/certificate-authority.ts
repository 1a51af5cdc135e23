/**
 * The mesh's own certificate authority: one root, and the leaves it signs for workloads.
 *
 * The root lives in the state directory (`root-cert.pem`, `root-key.pem`) and is made there when
 * the directory has none. A root that cannot be used is refused and never replaced: certificates
 * that are in use somewhere hang on it, so only a person may throw it away. Leaves are as istiod
 * signs them (protocols.md §2); of a request only the proven public key counts.
 */
import { createPrivateKey, createPublicKey, randomBytes, X509Certificate } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { CertificateAuthority } from "../agent/certificates.ts";
import { Failure } from "../kit/failure.ts";
import { parseIdentity } from "../model/identity.ts";

export interface CertificateAuthorityOptions {
  /** Where the root is kept; made (mode 0700) when it does not exist. */
  readonly directory: string;
  /** The organisation of a root that has to be made. */
  readonly trustDomain: string;
  /** Milliseconds since the epoch; for tests. */
  readonly now?: () => number;
}

const DAY_MS = 86_400_000;
const ROOT_TTL_MS = 3650 * DAY_MS;
/** Clocks of a cluster differ a little: a certificate is valid somewhat before it was signed. */
const BACKDATE_MS = 120_000;
const RSA_BITS_MIN = 2048;
/** How long another process that is just making the root may take. */
const CREATION_ATTEMPTS = 40;
const CREATION_WAIT_MS = 50;

/** An X.509 library loads slowly (158 ms), and most commands need none. */
async function loadX509() {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

export class MeshCertificateAuthority implements CertificateAuthority {
  readonly rootsPem: string;
  readonly #rootNotAfterMs: number;
  readonly #keyPem: string;
  readonly #now: () => number;
  #signer: Promise<Signer> | undefined;

  private constructor(root: Root, now: () => number) {
    this.rootsPem = root.certificatePem;
    this.#keyPem = root.keyPem;
    this.#rootNotAfterMs = Date.parse(new X509Certificate(root.certificatePem).validTo);
    this.#now = now;
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
    const nowMs = this.#now();
    if (nowMs >= this.#rootNotAfterMs) throw refusal("the root certificate has expired");
    this.#signer ??= makeSigner(this.rootsPem, this.#keyPem);
    const signer = await this.#signer;
    const chainPem = await signer.sign(request.csrPem, spiffeId, {
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(Math.min(nowMs + ttlMs, this.#rootNotAfterMs)),
    });
    return { chainPem, rootsPem: this.rootsPem };
  }
}

function refusal(detail: string, cause?: unknown): Failure {
  return new Failure("CERTIFICATE_UNAVAILABLE", `the CA does not sign: ${detail}`, { cause });
}

interface Root {
  readonly certificatePem: string;
  readonly keyPem: string;
}

/** The two files. The certificate is written last: when it is there, the root is whole. */
class RootStore {
  readonly #directory: string;
  readonly #certificatePath: string;
  readonly #keyPath: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.#certificatePath = join(directory, "root-cert.pem");
    this.#keyPath = join(directory, "root-key.pem");
  }

  async load(): Promise<Root | undefined> {
    for (let attempt = 0; ; attempt++) {
      const keyPem = await this.#read(this.#keyPath);
      const certificatePem = await this.#read(this.#certificatePath);
      if (certificatePem !== undefined && keyPem !== undefined) return { certificatePem, keyPem };
      if (certificatePem === undefined && keyPem === undefined) return undefined;
      // A key alone is what the directory looks like while another process makes the root.
      if (certificatePem !== undefined || attempt === CREATION_ATTEMPTS) {
        const missing = keyPem === undefined ? this.#keyPath : this.#certificatePath;
        throw this.#unusable(missing, "is missing while the other half is there");
      }
      await sleep(CREATION_WAIT_MS);
    }
  }

  async create(trustDomain: string, nowMs: number): Promise<Root> {
    const root = await makeRoot(trustDomain, nowMs);
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    } catch (caught) {
      throw this.#unusable(this.#directory, `cannot be made (${(caught as Error).message})`);
    }
    if (!(await this.#claim(root.keyPem))) {
      const theirs = await this.load();
      if (theirs === undefined) throw this.#unusable(this.#keyPath, "comes and goes");
      return theirs;
    }
    const temporary = `${this.#certificatePath}.${randomBytes(6).toString("hex")}`;
    try {
      await write(temporary, root.certificatePem, 0o644);
      await rename(temporary, this.#certificatePath);
    } catch (caught) {
      await Promise.allSettled([rm(temporary, { force: true }), rm(this.#keyPath)]);
      throw this.#unusable(
        this.#certificatePath,
        `cannot be written (${(caught as Error).message})`,
      );
    }
    return root;
  }

  /** Writes the key; false when somebody else was first. */
  async #claim(keyPem: string): Promise<boolean> {
    try {
      await write(this.#keyPath, keyPem, 0o600);
      return true;
    } catch (caught) {
      if ((caught as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw this.#unusable(this.#keyPath, `cannot be written (${(caught as Error).message})`);
    }
  }

  check(root: Root, nowMs: number): void {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(root.certificatePem);
    } catch {
      throw this.#unusable(this.#certificatePath, "is not a PEM certificate");
    }
    let matches: boolean;
    try {
      matches = certificate.checkPrivateKey(createPrivateKey(root.keyPem));
    } catch {
      throw this.#unusable(this.#keyPath, "is not a PEM private key");
    }
    if (!matches) throw this.#unusable(this.#keyPath, "does not belong to root-cert.pem");
    if (!certificate.ca) throw this.#unusable(this.#certificatePath, "is not a CA certificate");
    if (!certificate.checkIssued(certificate) || !certificate.verify(certificate.publicKey)) {
      throw this.#unusable(this.#certificatePath, "is not self-signed");
    }
    if (nowMs >= Date.parse(certificate.validTo)) {
      throw this.#unusable(this.#certificatePath, `has expired (${certificate.validTo})`);
    }
    if (nowMs < Date.parse(certificate.validFrom)) {
      const from = `is valid only from ${certificate.validFrom}`;
      throw this.#unusable(this.#certificatePath, `${from}: is the clock right?`);
    }
  }

  async #read(path: string): Promise<string | undefined> {
    try {
      return await readFile(path, "utf8");
    } catch (caught) {
      if ((caught as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw this.#unusable(path, `cannot be read (${(caught as Error).message})`);
    }
  }

  #unusable(path: string, what: string): Failure {
    const wayOut = `restore it, or remove root-cert.pem and root-key.pem from ${this.#directory}`;
    return new Failure("CONFIGURATION_INVALID", `${path} ${what}; ${wayOut} to start a new mesh`);
  }
}

/** Makes a new file (never over an old one) and has it on the disk before it returns. */
async function write(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } catch (caught) {
    await rm(path, { force: true });
    throw caught;
  } finally {
    await file.close();
  }
}

const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;

async function makeRoot(trustDomain: string, nowMs: number): Promise<Root> {
  const x509 = await loadX509();
  const keys = await crypto.subtle.generateKey(EC, true, ["sign", "verify"]);
  const { KeyUsageFlags } = x509;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    keys,
    name: [{ O: [trustDomain] }],
    serialNumber: newSerialNumber(),
    notBefore: new Date(nowMs - BACKDATE_MS),
    notAfter: new Date(nowMs + ROOT_TTL_MS),
    signingAlgorithm: EC,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const keyPem = key.export({ format: "pem", type: "pkcs8" }) as string;
  return { certificatePem: `${certificate.toString("pem")}\n`, keyPem };
}

interface Signer {
  sign(
    csrPem: string,
    spiffeId: string,
    validity: { notBefore: Date; notAfter: Date },
  ): Promise<string>;
}

async function makeSigner(rootPem: string, keyPem: string): Promise<Signer> {
  const x509 = await loadX509();
  const root = new x509.X509Certificate(rootPem);
  const key = createPrivateKey(keyPem);
  const algorithm = key.asymmetricKeyType === "rsa" ? RSA : { ...EC, namedCurve: curveOf(keyPem) };
  const pkcs8 = key.export({ format: "der", type: "pkcs8" });
  const signingKey = await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]);
  const issuerKeyId = await x509.AuthorityKeyIdentifierExtension.create(root.publicKey);
  const { KeyUsageFlags, ExtendedKeyUsage } = x509;
  const keyUsages = KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment;
  return {
    async sign(csrPem, spiffeId, validity) {
      const publicKey = await provenKey(x509, csrPem);
      const leaf = await x509.X509CertificateGenerator.create({
        publicKey,
        issuer: root.subjectName,
        serialNumber: newSerialNumber(),
        ...validity,
        signingKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.KeyUsagesExtension(keyUsages, true),
          new x509.ExtendedKeyUsageExtension([
            ExtendedKeyUsage.serverAuth,
            ExtendedKeyUsage.clientAuth,
          ]),
          new x509.BasicConstraintsExtension(false, undefined, true),
          issuerKeyId,
          // Critical because there is no subject (RFC 5280 §4.2.1.6).
          new x509.SubjectAlternativeNameExtension([{ type: "url", value: spiffeId }], true),
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

/** The public key of a request whose sender has proven to hold the private one. */
async function provenKey(x509: Awaited<ReturnType<typeof loadX509>>, csrPem: string) {
  let request: InstanceType<typeof x509.Pkcs10CertificateRequest>;
  let isProven: boolean;
  try {
    request = new x509.Pkcs10CertificateRequest(csrPem);
    isProven = await request.verify();
  } catch (caught) {
    throw refusal("the request is not a PKCS #10 request", caught);
  }
  if (!isProven) throw refusal("the request's signature does not fit its key");
  const spki = Buffer.from(request.publicKey.rawData);
  const key = createPublicKey({ key: spki, format: "der", type: "spki" });
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  const isStrong = key.asymmetricKeyType === "rsa" ? bits >= RSA_BITS_MIN : true;
  if (!isStrong) throw refusal(`an RSA key of ${bits} bits is too short`);
  return request.publicKey;
}

/** 127 random bits, positive, of constant length (RFC 5280 §4.1.2.2 allows up to 20 octets). */
function newSerialNumber(): string {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial.toString("hex");
}
