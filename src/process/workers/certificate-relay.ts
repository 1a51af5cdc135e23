/**
 * The parent's end of certificates: it alone has keys made and requests signed, one per identity,
 * and gives every certificate to every worker at once, and all of them to a new worker. A worker
 * asks for identities that it has not been given; it says when it no longer needs one.
 */
import type { CertificateSource } from "../../agent/certificates.ts";
import type { TlsIdentity } from "../../net/tls.ts";
import type { KeyPair, ToWorker } from "./messages.ts";

/** A worker, as this sees it. */
export interface CertificateUser {
  send(message: ToWorker): void;
}

export class CertificateRelay {
  readonly #certificates: CertificateSource;
  readonly #unsubscribe: () => void;
  readonly #latest = new Map<string, TlsIdentity>();
  /** By identity: who has been given it, or has asked for it. */
  readonly #users = new Map<string, Set<CertificateUser>>();
  readonly #workers = new Set<CertificateUser>();

  constructor(certificates: CertificateSource) {
    this.#certificates = certificates;
    this.#unsubscribe = certificates.subscribe((identity) => {
      this.#latest.set(identity.spiffeId, identity);
      for (const worker of this.#workers) this.#give(worker, identity);
    });
  }

  join(worker: CertificateUser): void {
    this.#workers.add(worker);
    for (const identity of this.#latest.values()) this.#give(worker, identity);
  }

  leave(worker: CertificateUser): void {
    this.#workers.delete(worker);
    for (const [spiffeId, users] of this.#users) {
      users.delete(worker);
      if (users.size === 0) this.#users.delete(spiffeId);
    }
  }

  /** The worker has none that is good. */
  async want(worker: CertificateUser, spiffeId: string): Promise<void> {
    this.#usersOf(spiffeId).add(worker);
    try {
      const identity = await this.#certificates.get(spiffeId);
      this.#latest.set(spiffeId, identity);
      this.#give(worker, identity);
    } catch (caught) {
      const reason = caught instanceof Error ? caught.message : String(caught);
      worker.send({ kind: "no-certificate", spiffeId, reason });
    }
  }

  /** Forgotten when the last worker that asked for it has let go of it. */
  release(worker: CertificateUser, spiffeId: string): void {
    const users = this.#users.get(spiffeId);
    users?.delete(worker);
    if (users !== undefined && users.size > 0) return;
    this.#users.delete(spiffeId);
    this.#latest.delete(spiffeId);
    this.#certificates.release(spiffeId);
  }

  #give(worker: CertificateUser, identity: TlsIdentity): void {
    this.#usersOf(identity.spiffeId).add(worker);
    const { spiffeId, certificatePem, keyPem, rootsPem } = identity;
    const certificate: KeyPair = { spiffeId, certificatePem, keyPem, rootsPem };
    worker.send({ kind: "certificate", certificate });
  }

  #usersOf(spiffeId: string): Set<CertificateUser> {
    const users = this.#users.get(spiffeId) ?? new Set();
    this.#users.set(spiffeId, users);
    return users;
  }

  close(): void {
    this.#unsubscribe();
    this.#latest.clear();
  }
}
