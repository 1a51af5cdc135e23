/**
 * Where the root of the mesh is kept: `root-cert.pem` and `root-key.pem` in the state directory,
 * made when neither is there.
 *
 * A root that cannot be used is refused and never replaced: certificates that are in use somewhere
 * hang on it, so only a person may throw it away. Several processes may start at once: the one
 * that writes the key first makes the root, the others wait for the certificate.
 */
import { createPrivateKey, randomBytes, X509Certificate } from "node:crypto";
import { mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../kit/failure.ts";
import { writeNewFile } from "../kit/new-file.ts";
import { BACKDATE_MS, EC, loadX509, newSerialNumber } from "./x509.ts";

const DAY_MS = 86_400_000;
const ROOT_TTL_MS = 3650 * DAY_MS;
/** How long another process that is just making the root may take. */
const CREATION_ATTEMPTS = 40;
const CREATION_WAIT_MS = 50;

/** What signs: a root, or what hangs on one. */
export interface Root {
  readonly certificatePem: string;
  readonly keyPem: string;
  /** From the signing certificate on, up to the root and without it. */
  readonly intermediatesPem?: string;
  /** What is trusted, where it is not the signing certificate itself. */
  readonly rootsPem?: string;
}

/** The two files. The certificate is written last: when it is there, the root is whole. */
export class RootStore {
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
      await writeNewFile(temporary, root.certificatePem, 0o644);
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
      await writeNewFile(this.#keyPath, keyPem, 0o600);
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

export async function makeRoot(trustDomain: string, nowMs: number): Promise<Root> {
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
