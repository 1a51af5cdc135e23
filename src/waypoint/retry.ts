/** When and how soon a request is sent again. */

/** May be sent again when it is not known whether the first try arrived (RFC 9110 §9.2.2). */
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** First wait before another attempt; it doubles, with full jitter (Envoy's 25 ms). */
const RETRY_BACKOFF_BASE_MS = 25;

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

export function backoffMs(attempt: number): number {
  return Math.random() * RETRY_BACKOFF_BASE_MS * 2 ** (attempt - 1);
}
