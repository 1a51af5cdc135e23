/**
 * From one CA to another without a handshake that fails:
 *
 *     both roots are told ── all have renewed once ──> the new one signs
 *                         ── the old certificates have ended ──> the new root alone
 *
 * Where the roots that are told already have the new one's (an operator has put several into
 * `root-cert.pem`, Istio's way), it signs at once. A pure step from what is kept to what is to be:
 * replicas, and those that start in the middle, come to the same.
 */
import { X509Certificate } from "node:crypto";
import { rootsOf } from "../certificate-authority.ts";
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

export interface RotationState {
  /** The CA that signs. */
  readonly signer: Root;
  /** PEM of the roots that everybody is told to trust. */
  readonly told: string;
  /** The CA that is to sign, by fingerprint, and from when on. */
  readonly next?: { readonly fingerprint: string; readonly signsAtMs: number } | undefined;
  /** From then on the signer's own roots are enough. */
  readonly trimAtMs?: number | undefined;
}

/**
 * The state after `found` was seen to be the cluster's CA; the same object when nothing is
 * different.
 */
export function rotated(
  state: RotationState | undefined,
  found: Root,
  nowMs: number,
  timings: RotationTimings = ROTATION_TIMINGS,
): RotationState {
  if (state === undefined) return { signer: found, told: rootsOf(found) };
  if (fingerprintOf(found) === fingerprintOf(state.signer)) return stayed(state, found, nowMs);
  const told = union(rootsOf(found), state.told);
  if (state.next?.fingerprint === fingerprintOf(found)) {
    if (nowMs >= state.next.signsAtMs) {
      return { signer: found, told, trimAtMs: nowMs + timings.endedMs };
    }
    return told === state.told ? state : { ...state, told };
  }
  if (isPrepared(state, found)) {
    if (state.trimAtMs === undefined) return { signer: found, told: rootsOf(found) };
    return { signer: found, told, trimAtMs: nowMs + timings.endedMs };
  }
  const next = { fingerprint: fingerprintOf(found), signsAtMs: nowMs + timings.renewedMs };
  return { ...state, told, next };
}

/** The CA that signs is the cluster's; one that was to come is given up. */
function stayed(state: RotationState, found: Root, nowMs: number): RotationState {
  const isWaiting = state.trimAtMs !== undefined && nowMs < state.trimAtMs;
  const told = isWaiting ? union(rootsOf(found), state.told) : rootsOf(found);
  const isSame =
    told === state.told &&
    state.next === undefined &&
    (isWaiting || state.trimAtMs === undefined) &&
    rootsOf(found) === rootsOf(state.signer);
  if (isSame) return state;
  return { signer: found, told, ...(isWaiting ? { trimAtMs: state.trimAtMs } : {}) };
}

/** Everybody knows its root, and goes on knowing the one before. */
function isPrepared({ signer, told }: RotationState, found: Root): boolean {
  const [known, coming] = [pemsIn(told), pemsIn(rootsOf(found))];
  const isKnown = anchorsOf(found).some((pem) => known.includes(pem));
  return isKnown && anchorsOf(signer).some((pem) => coming.includes(pem));
}

function fingerprintOf({ certificatePem }: Root): string {
  return new X509Certificate(certificatePem).fingerprint256;
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

/** What comes first stays first: the order of roots is no news. */
function union(pem: string, others: string): string {
  const known = pemsIn(others);
  const added = pemsIn(pem).filter((one) => !known.includes(one));
  return added.length === 0 ? others : [...added, ...known].join("");
}

function pemsIn(text: string): string[] {
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return found.map((pem) => `${pem}\n`);
}
