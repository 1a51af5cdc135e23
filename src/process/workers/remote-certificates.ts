/**
 * A worker's certificates: obtained and renewed by its parent, which sends each one unasked. What
 * this worker needs first, it asks for.
 */
import type { CertificateSource, CertificateState } from "../../agent/certificates.ts";
import { Failure } from "../../kit/failure.ts";
import { makeTlsIdentity, type TlsIdentity } from "../../net/tls.ts";
import type { FromWorker, KeyPair } from "./messages.ts";

interface Waiting {
  readonly promise: Promise<TlsIdentity>;
  readonly resolve: (identity: TlsIdentity) => void;
  readonly reject: (failure: Failure) => void;
}

export class RemoteCertificates implements CertificateSource {
  readonly #send: (message: FromWorker) => void;
  readonly #identities = new Map<string, TlsIdentity>();
  readonly #waiting = new Map<string, Waiting>();
  /** Asked for, refused, and the parent tries again by itself. */
  readonly #failures = new Map<string, Failure>();
  readonly #listeners = new Set<(identity: TlsIdentity) => void>();

  constructor(send: (message: FromWorker) => void) {
    this.#send = send;
  }

  get(spiffeId: string): Promise<TlsIdentity> {
    const identity = this.#valid(spiffeId);
    if (identity !== undefined) return Promise.resolve(identity);
    const waiting = this.#waiting.get(spiffeId) ?? this.#ask(spiffeId);
    return waiting.promise;
  }

  current(spiffeId: string): TlsIdentity | undefined {
    const identity = this.#valid(spiffeId);
    const isAsked = this.#waiting.has(spiffeId) || this.#failures.has(spiffeId);
    // The next one who asks will have it.
    if (identity === undefined && !isAsked) this.#ask(spiffeId);
    return identity;
  }

  subscribe(listener: (identity: TlsIdentity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  release(spiffeId: string): void {
    this.#identities.delete(spiffeId);
    this.#failures.delete(spiffeId);
    this.#send({ kind: "release-certificate", spiffeId });
  }

  list(): readonly CertificateState[] {
    const all = [this.#identities, this.#waiting, this.#failures].flatMap((m) => [...m.keys()]);
    return [...new Set(all)].map((spiffeId) => {
      const problem = this.#failures.get(spiffeId)?.message;
      return { spiffeId, identity: this.#valid(spiffeId), problem };
    });
  }

  /** From the parent. */
  onCertificate({ spiffeId, certificatePem, keyPem, rootsPem }: KeyPair): void {
    const known = this.#identities.get(spiffeId);
    const isKnown = known?.certificatePem === certificatePem && known.rootsPem === rootsPem;
    const parts = { spiffeId, certificatePem, keyPem, rootsPem };
    const identity = isKnown ? known : makeTlsIdentity(parts);
    this.#identities.set(spiffeId, identity);
    this.#failures.delete(spiffeId);
    this.#waiting.get(spiffeId)?.resolve(identity);
    this.#waiting.delete(spiffeId);
    if (!isKnown) for (const listener of this.#listeners) listener(identity);
  }

  /** From the parent. */
  onFailure(spiffeId: string, reason: string): void {
    const failure = new Failure("CERTIFICATE_UNAVAILABLE", reason);
    this.#failures.set(spiffeId, failure);
    this.#waiting.get(spiffeId)?.reject(failure);
    this.#waiting.delete(spiffeId);
  }

  #ask(spiffeId: string): Waiting {
    let resolve: Waiting["resolve"] = () => {};
    let reject: Waiting["reject"] = () => {};
    const promise = new Promise<TlsIdentity>((done, failed) => {
      resolve = done;
      reject = failed;
    });
    // `current` asks without waiting for the answer.
    promise.catch(() => {});
    const waiting = { promise, resolve, reject };
    this.#waiting.set(spiffeId, waiting);
    this.#send({ kind: "want-certificate", spiffeId });
    return waiting;
  }

  #valid(spiffeId: string): TlsIdentity | undefined {
    const identity = this.#identities.get(spiffeId);
    return identity !== undefined && Date.now() < identity.notAfterMs ? identity : undefined;
  }
}
