/**
 * From one CA to another without a handshake that fails:
 *
 *     both roots are told ── all have renewed once ──> the new one signs
 *                         ── the old certificates have ended ──> the new root alone
 *
 * Where the roots that are told already have the new one's (an operator has put several into
 * `root-cert.pem`, Istio's way), it signs at once. A rotation that a restart interrupts is not
 * remembered: who rotates in one step keeps the control plane running, or takes Istio's way.
 */
import { X509Certificate } from "node:crypto";
import { type Logger, log } from "../../kit/log.ts";
import { type MeshCertificateAuthority, rootsOf } from "../certificate-authority.ts";
import type { Root } from "../root-store.ts";

export interface RotationTimings {
  /** Until everybody has renewed: half the life of a certificate, and some more. */
  readonly renewedMs: number;
  /** Until the last certificate of the old CA has ended. */
  readonly endedMs: number;
}

const HOUR_MS = 3_600_000;
/** Certificates live a day, if nobody asks for another time. */
export const ROTATION_TIMINGS: RotationTimings = {
  renewedMs: 13 * HOUR_MS,
  endedMs: 25 * HOUR_MS,
};

type Authority = Pick<MeshCertificateAuthority, "rootsPem" | "use">;

export class RootRotation {
  readonly #authority: Authority;
  readonly #timings: RotationTimings;
  readonly #log: Logger;
  #signing: Root;
  #step: NodeJS.Timeout | undefined;

  constructor(
    authority: Authority,
    signing: Root,
    timings: RotationTimings = ROTATION_TIMINGS,
    logger: Logger = log("ca"),
  ) {
    this.#authority = authority;
    this.#signing = signing;
    this.#timings = timings;
    this.#log = logger;
  }

  /** The cluster has another CA now. One that comes during a rotation takes the new one's place. */
  begin(next: Root): void {
    clearTimeout(this.#step);
    const told = pemsIn(this.#authority.rootsPem);
    const coming = pemsIn(rootsOf(next));
    const isKnown = anchorsOf(next).some((pem) => told.includes(pem));
    const isKept = anchorsOf(this.#signing).some((pem) => coming.includes(pem));
    if (isKnown && isKept) {
      this.#sign(next, rootsOf(next));
      this.#log.info("another CA signs; its roots are known already");
      return;
    }
    const both = [...new Set([...coming, ...told])].join("");
    this.#authority.use(this.#signing, both);
    this.#log.warn(this.#timings, "the CA changes: both roots are told, the old one signs");
    this.#after(this.#timings.renewedMs, () => {
      this.#sign(next, both);
      this.#log.warn("the CA changes: the new one signs");
      this.#after(this.#timings.endedMs, () => {
        this.#authority.use(next, rootsOf(next));
        this.#log.info("the CA has changed");
      });
    });
  }

  close(): void {
    clearTimeout(this.#step);
  }

  #sign(root: Root, rootsPem: string): void {
    this.#signing = root;
    this.#authority.use(root, rootsPem);
  }

  #after(ms: number, work: () => void): void {
    this.#step = setTimeout(work, ms).unref();
  }
}

/** The roots that its signatures lead to. */
function anchorsOf(root: Root): string[] {
  const chain = pemsIn(root.certificatePem + (root.intermediatesPem ?? ""));
  const signed = chain.map((pem) => new X509Certificate(pem));
  return pemsIn(rootsOf(root)).filter((pem) => {
    const anchor = new X509Certificate(pem);
    return signed.some((one) => one.checkIssued(anchor) && one.verify(anchor.publicKey));
  });
}

function pemsIn(text: string): string[] {
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return found.map((pem) => `${pem}\n`);
}
