/**
 * What is tried again, how often and how soon: a rule's `retry`, or what the mesh does by itself.
 *
 *     always    no connection; a stream that was refused unread; gRPC's own "not now" in an answer
 *               that is nothing but a status (Istio: connect-failure, refused-stream, unavailable,
 *               cancelled)
 *     retry     besides: answers with one of its codes; and for requests that may arrive twice,
 *               attempts that broke or took too long (GEP-1731: what may have been processed is
 *               not repeated unless that is harmless)
 *
 * Never when the answer has begun, or when the body that was sent is not at hand any more.
 */
import type { RetryPolicy } from "../model/route.ts";
import type { MeshSettings } from "../model/settings.ts";

/** `stale`: a connection that had rested was closed under it. */
export type RetryReason = "connect" | "reset" | "stale" | "refused" | "timeout" | "answer";

/** May be sent again when it is not known whether the first try arrived (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** CANCELLED and UNAVAILABLE. */
const UNPROCESSED_GRPC_CODES: readonly number[] = [1, 14];

const GATEWAY_TIMEOUT = 504;

/** Beyond the first; a rule that asks for more gets these. */
export const RETRIES_MAX = 100;

/** Envoy's, where nothing is said. */
const BACKOFF_BASE_MS = 25;
const BACKOFF_GROWTH_MAX = 10;

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

const meshPolicies = new WeakMap<MeshSettings, RetryPolicy>();

/** What holds where a rule says nothing. */
export function meshRetryPolicy(settings: MeshSettings): RetryPolicy {
  let policy = meshPolicies.get(settings);
  if (policy === undefined) {
    const attempts = settings.retryAttempts;
    policy = { attempts, codes: [], grpcCodes: [], backoffMs: undefined };
    meshPolicies.set(settings, policy);
  }
  return policy;
}

/** `grpcStatus`: of an answer whose head is all there is; else undefined. */
export function isRetriableAnswer(
  policy: RetryPolicy,
  status: number,
  grpcStatus: string | undefined,
): boolean {
  if (policy.codes.includes(status)) return true;
  if (grpcStatus === undefined) return false;
  const code = Number(grpcStatus);
  return UNPROCESSED_GRPC_CODES.includes(code) || policy.grpcCodes.includes(code);
}

/** An attempt's time is over: its answer would have been a 504 of ours. */
export function isRetriableTimeout(policy: RetryPolicy, method: string): boolean {
  return isIdempotent(method) || policy.codes.includes(GATEWAY_TIMEOUT);
}

/**
 * Before the `retry`th attempt beyond the first (1, 2 …). A configured interval is a minimum, which
 * doubles and is stretched by up to a half; without one it is Envoy's full jitter.
 */
export function backoffMs(
  policy: RetryPolicy,
  retry: number,
  random: () => number = Math.random,
): number {
  const growth = Math.min(2 ** (retry - 1), BACKOFF_GROWTH_MAX);
  if (policy.backoffMs === undefined) return random() * BACKOFF_BASE_MS * growth;
  return policy.backoffMs * growth * (1 + random() / 2);
}
