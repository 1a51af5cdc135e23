/**
 * The certificates of the identities that run here: obtained, renewed at half their life, kept as
 * long as they are good, forgotten when nobody needs them.
 *
 *     get() ──> requesting ──ok──> current ──half life──> requesting (the old one stays current)
 *                   │ failed                                  │ failed
 *                   └──> waiting 0.5–1 s, doubling to 150 s <─┘
 *
 * Keys are made here and never leave the process. A new certificate concerns new handshakes only:
 * whoever opens or accepts a connection asks for `current()` then, and open ones live on.
 */
import { Failure } from "../kit/failure.ts";
import type { Logger } from "../kit/log.ts";
import { Turns } from "../kit/turns.ts";
import { makeTlsIdentity, type TlsIdentity } from "../net/tls.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";

/** Who signs: the mesh's own CA, or istiod's. */
export interface CertificateAuthority {
  sign(request: {
    csrPem: string;
    spiffeId: string;
    ttlMs: number;
  }): Promise<{ chainPem: string; rootsPem: string }>;
}

/** How it stands with one identity. */
export interface CertificateState {
  readonly spiffeId: string;
  /** As it is now; undefined when there is none or it has expired. */
  readonly identity: TlsIdentity | undefined;
  /** Why there is none, or no newer one; undefined: nothing failed. */
  readonly problem: string | undefined;
}

/** What the data path needs of certificates, wherever they are obtained and renewed. */
export interface CertificateSource {
  /** The identity's certificate, obtained if need be. Rejects with CERTIFICATE_UNAVAILABLE. */
  get(spiffeId: string): Promise<TlsIdentity>;
  /** The certificate as it is now; undefined when there is none or it has expired. */
  current(spiffeId: string): TlsIdentity | undefined;
  /** Calls the listener with every certificate that is obtained. The result unsubscribes. */
  subscribe(listener: (identity: TlsIdentity) => void): () => void;
  /** Forgets the identity and its key. */
  release(spiffeId: string): void;
  /** Every identity that is kept or being obtained. */
  list(): readonly CertificateState[];
}

/** Time and chance, so that tests can own them. */
export interface CertificateClock {
  now(): number;
  /** Calls back once after `delayMs`; the result cancels. */
  schedule(delayMs: number, callback: () => void): () => void;
  /** In [0, 1). */
  random(): number;
}

export interface CertificatesOptions {
  readonly ttlMs: number;
  readonly log: Logger;
  readonly registry?: MetricRegistry;
  readonly clock?: CertificateClock;
}

const SYSTEM_CLOCK: CertificateClock = {
  now: Date.now,
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
  random: Math.random,
};

/** Requests in flight at a time; the others wait their turn. */
const PARALLEL_REQUESTS = 8;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 150_000;
/** Renewals spread over the last 5 % before half life, so that they do not come in waves. */
const RENEWAL_JITTER = 0.05;
/** No sleep is longer: timers stand still while a laptop does, and 2^31 ms is all they can. */
const SLEEP_MAX_MS = 300_000;

/** Different failures that are remembered as told. */
const TOLD_MAX = 100;

export function certificateResults(registry: MetricRegistry) {
  return registry.counter(
    "waystone_certificate_requests_total",
    "Certificates that this proxy asked the CA for, by whether it obtained them.",
    ["result"],
  );
}

/** One identity's state. */
class Entry {
  readonly spiffeId: string;
  identity: TlsIdentity | undefined;
  request: Promise<TlsIdentity> | undefined;
  failures = 0;
  lastFailure: Failure | undefined;
  isReleased = false;
  cancelTimer: (() => void) | undefined;

  constructor(spiffeId: string) {
    this.spiffeId = spiffeId;
  }
}

export class Certificates implements CertificateSource {
  readonly #authority: CertificateAuthority;
  readonly #ttlMs: number;
  readonly #log: Logger;
  readonly #clock: CertificateClock;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<(identity: TlsIdentity) => void>();
  readonly #turns = new Turns(PARALLEL_REQUESTS);
  readonly #requests;
  /** What has been logged and lasts: a CA that is away is no news for each identity and retry. */
  readonly #told = new Set<string>();
  #isClosed = false;

  constructor(authority: CertificateAuthority, options: CertificatesOptions) {
    this.#authority = authority;
    this.#ttlMs = options.ttlMs;
    this.#log = options.log;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#requests = options.registry && certificateResults(options.registry);
  }

  /**
   * The identity's certificate, obtained when there is none. Concurrent calls share one request.
   * Rejects with CERTIFICATE_UNAVAILABLE; while a retry is due it does so at once.
   */
  get(spiffeId: string): Promise<TlsIdentity> {
    if (this.#isClosed) return Promise.reject(unavailable(spiffeId, "shutting down"));
    let entry = this.#entries.get(spiffeId);
    if (entry === undefined) {
      entry = new Entry(spiffeId);
      this.#entries.set(spiffeId, entry);
    }
    const identity = this.#valid(entry);
    if (identity !== undefined) return Promise.resolve(identity);
    if (entry.request !== undefined) return entry.request;
    if (entry.lastFailure !== undefined) return Promise.reject(entry.lastFailure);
    return this.#request(entry);
  }

  /** The certificate as it is now; undefined when there is none or it has expired. */
  current(spiffeId: string): TlsIdentity | undefined {
    const entry = this.#entries.get(spiffeId);
    if (entry === undefined) return undefined;
    const identity = this.#valid(entry);
    // Expired in our sleep: the timer that should have renewed it slept as well.
    if (identity === undefined && !entry.request && !entry.lastFailure) this.#renew(entry);
    return identity;
  }

  /** Calls the listener with every certificate that is obtained. The result unsubscribes. */
  subscribe(listener: (identity: TlsIdentity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Forgets the identity and its key. */
  release(spiffeId: string): void {
    const entry = this.#entries.get(spiffeId);
    if (entry === undefined) return;
    this.#entries.delete(spiffeId);
    entry.isReleased = true;
    entry.cancelTimer?.();
  }

  list(): readonly CertificateState[] {
    return [...this.#entries.values()].map((entry) => {
      const problem = entry.lastFailure?.message;
      return { spiffeId: entry.spiffeId, identity: this.#valid(entry), problem };
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const spiffeId of [...this.#entries.keys()]) this.release(spiffeId);
    this.#listeners.clear();
  }

  #valid(entry: Entry): TlsIdentity | undefined {
    const { identity } = entry;
    return identity !== undefined && this.#clock.now() < identity.notAfterMs ? identity : undefined;
  }

  #request(entry: Entry): Promise<TlsIdentity> {
    entry.cancelTimer?.();
    const obtaining = this.#turns.run(() => this.#obtain(entry.spiffeId));
    entry.request = obtaining.then(
      (identity) => {
        this.#succeeded(entry, identity);
        return identity;
      },
      (caught: unknown) => {
        throw this.#failed(entry, caught);
      },
    );
    return entry.request;
  }

  #renew(entry: Entry): void {
    // A failure has been logged and its retry is due: nobody waits for this promise.
    this.#request(entry).catch(() => {});
  }

  async #obtain(spiffeId: string): Promise<TlsIdentity> {
    const { csrPem, keyPem } = await makeRequest(spiffeId);
    const signed = await this.#authority.sign({ csrPem, spiffeId, ttlMs: this.#ttlMs });
    const identity = makeTlsIdentity({
      certificatePem: signed.chainPem,
      keyPem,
      rootsPem: signed.rootsPem,
    });
    if (identity.spiffeId !== spiffeId) {
      throw unavailable(spiffeId, `the CA signed ${identity.spiffeId} instead`);
    }
    if (identity.notAfterMs <= this.#clock.now()) {
      throw unavailable(spiffeId, "the CA's certificate has expired already");
    }
    return identity;
  }

  #succeeded(entry: Entry, identity: TlsIdentity): void {
    entry.request = undefined;
    if (entry.isReleased) return;
    entry.identity = identity;
    this.#requests?.child(["obtained"]).add(1);
    if (entry.lastFailure !== undefined) this.#told.delete(entry.lastFailure.message);
    entry.failures = 0;
    entry.lastFailure = undefined;
    const { notBeforeMs, notAfterMs } = identity;
    const nowMs = this.#clock.now();
    const early = 1 - RENEWAL_JITTER * this.#clock.random();
    const halfLifeMs = notBeforeMs + ((notAfterMs - notBeforeMs) / 2) * early;
    // A CA dates back by minutes: of a short life that may be the first half.
    const halfRestMs = nowMs + ((notAfterMs - nowMs) / 2) * early;
    this.#renewAt(entry, halfLifeMs > nowMs ? halfLifeMs : halfRestMs);
    const expires = new Date(notAfterMs).toISOString();
    this.#log.info({ spiffeId: entry.spiffeId, expires }, "certificate obtained");
    for (const listener of this.#listeners) listener(identity);
  }

  #failed(entry: Entry, caught: unknown): Failure {
    entry.request = undefined;
    const failure = Failure.from(caught, "CERTIFICATE_UNAVAILABLE");
    if (entry.isReleased) return failure;
    entry.lastFailure = failure;
    const drawn = retryDelayMs(entry.failures, this.#clock.random(), this.#clock.random());
    const delayMs = Math.round(drawn);
    entry.failures++;
    this.#renewAt(entry, this.#clock.now() + delayMs);
    this.#requests?.child(["failed"]).add(1);
    const { spiffeId } = entry;
    const isUsable = this.#valid(entry) !== undefined;
    const level = this.#isNews(failure.message) ? "warn" : "debug";
    this.#log[level]({ spiffeId, reason: failure.message, delayMs, isUsable }, "no certificate");
    return failure;
  }

  #isNews(message: string): boolean {
    if (this.#told.has(message)) return false;
    if (this.#told.size === TOLD_MAX) this.#told.clear();
    this.#told.add(message);
    return true;
  }

  #renewAt(entry: Entry, atMs: number): void {
    const delayMs = Math.min(Math.max(0, atMs - this.#clock.now()), SLEEP_MAX_MS);
    entry.cancelTimer?.();
    entry.cancelTimer = this.#clock.schedule(delayMs, () => {
      if (this.#clock.now() < atMs) this.#renewAt(entry, atMs);
      else this.#renew(entry);
    });
  }
}

/** 0.5–1 s, doubled by every failure up to 150 s, ±20 %. */
function retryDelayMs(failures: number, drawFirst: number, drawSpread: number): number {
  const first = RETRY_FIRST_MS * (1 + drawFirst);
  const doubled = Math.min(first * 2 ** Math.min(failures, 20), RETRY_MAX_MS);
  return failures === 0 ? first : doubled * (0.8 + 0.4 * drawSpread);
}

function unavailable(spiffeId: string, why: string): Failure {
  return new Failure("CERTIFICATE_UNAVAILABLE", `no certificate for ${spiffeId}: ${why}`);
}

/**
 * A fresh P-256 key and the request for it: no subject, one critical URI SAN, as ztunnel's.
 * The X.509 library loads slowly (158 ms), so it is loaded when the first request is made.
 */
export async function makeRequest(spiffeId: string): Promise<{ csrPem: string; keyPem: string }> {
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: "url", value: spiffeId }], true),
    ],
  });
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { csrPem: csr.toString("pem"), keyPem: x509.PemConverter.encode(pkcs8, "PRIVATE KEY") };
}
