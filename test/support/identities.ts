/** Certificates for tests: a mesh's CA, and identities that it signed, now or long ago. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Certificates } from "../../src/agent/certificates.ts";
import { MeshCertificateAuthority } from "../../src/control/certificate-authority.ts";
import { log } from "../../src/kit/log.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";

export const HOUR_MS = 3_600_000;

export class TestMesh {
  readonly authority: MeshCertificateAuthority;
  readonly #clock: { nowMs: number };

  private constructor(authority: MeshCertificateAuthority, clock: { nowMs: number }) {
    this.authority = authority;
    this.#clock = clock;
  }

  /** A mesh with a root of its own, a month old. */
  static async make(trustDomain = "cluster.local"): Promise<TestMesh> {
    const directory = await mkdtemp(join(tmpdir(), "test-mesh-"));
    const clock = { nowMs: Date.now() - 720 * HOUR_MS };
    const options = { directory, trustDomain, now: () => clock.nowMs };
    const authority = await MeshCertificateAuthority.open(options);
    await rm(directory, { recursive: true });
    return new TestMesh(authority, clock);
  }

  /** What the CA makes of a request at a time. */
  signAt(nowMs: number, request: { csrPem: string; spiffeId: string; ttlMs: number }) {
    this.#clock.nowMs = nowMs;
    return this.authority.sign(request);
  }

  /** The identity `spiffe://<trust domain>/ns/default/sa/<account>`, signed so long ago. */
  async identity(account: string, options: { ageMs?: number; trustDomain?: string } = {}) {
    const { ageMs = 0, trustDomain = "cluster.local" } = options;
    const signedMs = Date.now() - ageMs;
    this.#clock.nowMs = signedMs;
    const clock = { now: () => signedMs, schedule: () => () => {}, random: () => 0 };
    const logger = log("test");
    logger.level = "silent";
    const ttlMs = HOUR_MS;
    const certificates = new Certificates(this.authority, { ttlMs, log: logger, clock });
    const spiffeId = idOf(account, trustDomain);
    const identity: TlsIdentity = await certificates.get(spiffeId);
    certificates.close();
    return identity;
  }
}

export function idOf(account: string, trustDomain = "cluster.local"): string {
  return `spiffe://${trustDomain}/ns/default/sa/${account}`;
}
