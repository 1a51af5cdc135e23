/**
 * What a request may ask of the echo servers, in its query (of a gRPC call, which has none, in
 * headers `x-echo-<name>`):
 *
 *     status=503         answered with it (`responseCode` is the same; a gRPC status for gRPC)
 *     delay=100ms        answered after that
 *     size=1000          that many bytes instead of JSON
 *     succeedAfter=2     the first 2 requests with the same `uuid` fail, with that status, or
 *                        without one by a broken connection; later ones are answered 200
 *     delayRetry=300ms   those that fail take that long
 *
 * The last two are the words of the Gateway API's own conformance echo; they show what retries do.
 */
export interface EchoOrders {
  /** 0: break the connection. */
  readonly status: number;
  readonly delayMs: number;
  /** Undefined: answer with JSON. */
  readonly sizeBytes: number | undefined;
}

const SIZE_MAX = 64 * 1024 * 1024;
const DELAY_MS_MAX = 60_000;
/** Of `succeedAfter`; the oldest one is forgotten for a new one. */
const UUIDS_MAX = 10_000;
const BREAK = 0;

/** How often each uuid has failed. */
export class FailuresSoFar {
  readonly #byUuid = new Map<string, number>();

  /** True while the request is one of the first `wanted` with that uuid. */
  isDue(uuid: string, wanted: number): boolean {
    const failed = this.#byUuid.get(uuid) ?? 0;
    if (failed >= wanted) return false;
    if (this.#byUuid.size >= UUIDS_MAX && failed === 0) {
      const [oldest] = this.#byUuid.keys();
      if (oldest !== undefined) this.#byUuid.delete(oldest);
    }
    this.#byUuid.set(uuid, failed + 1);
    return true;
  }
}

/** `usual` is the status of an answer that nothing was said about. */
export function readOrders(
  get: (name: string) => string | null,
  failures: FailuresSoFar,
  usual: number,
): EchoOrders {
  const wanted = Number(get("status") ?? get("responseCode") ?? Number.NaN);
  const size = Number(get("size") ?? Number.NaN);
  const sizeBytes = Number.isInteger(size) && size >= 0 && size <= SIZE_MAX ? size : undefined;
  const delayMs = durationMs(get("delay"));
  const succeedAfter = Number(get("succeedAfter") ?? 0);
  if (succeedAfter > 0) {
    if (!failures.isDue(get("uuid") ?? "", succeedAfter)) {
      return { status: usual, delayMs, sizeBytes };
    }
    const status = Number.isNaN(wanted) ? BREAK : wanted;
    return { status, delayMs: delayMs + durationMs(get("delayRetry")), sizeBytes };
  }
  return { status: Number.isNaN(wanted) ? usual : wanted, delayMs, sizeBytes };
}

/** `100ms`, `1.5s`, or milliseconds; 0 when it is none of them. */
function durationMs(text: string | null): number {
  const found = /^(\d+(?:\.\d+)?)(ms|s)?$/.exec(text ?? "");
  if (!found) return 0;
  const ms = Number(found[1]) * (found[2] === "s" ? 1000 : 1);
  return Math.min(ms, DELAY_MS_MAX);
}
