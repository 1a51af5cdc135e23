/**
 * Finds out what a client speaks on a port that does not say (no appProtocol, no telling name).
 *
 * HTTP is recognised by its first bytes: a method's token and a space (HTTP/2's preface begins like
 * a request). Anything else is TCP. A client that says nothing is waited for, as Istio does by
 * default, or is taken for TCP after `protocolDetectionTimeout`; L7 rules then fail closed (policy:
 * HTTP attributes on TCP).
 */
import type { ByteStream } from "../net/byte-stream.ts";
import type { Drainable } from "./context.ts";
import { FirstBytes } from "./first-bytes.ts";

/** The longest registered method, and the space behind it. */
const METHOD_BYTES_MAX = 20;

export type Sniffed = "http1" | "tcp";

/**
 * `found` is called once, with the bytes read so far (not yet credited). `timeouts.detectionMs` of
 * 0 is none; then a client that says nothing at all is cut after `timeouts.idleMs`, and
 * `onCut` called.
 */
export function sniff(
  stream: ByteStream,
  sessions: Set<Drainable>,
  timeouts: { readonly detectionMs: number; readonly idleMs: number; readonly onCut: () => void },
  found: (protocol: Sniffed, bytes: Buffer, isEnded: boolean) => void,
): FirstBytes<Sniffed> {
  const isPatient = timeouts.detectionMs === 0;
  return new FirstBytes<Sniffed>(stream, sessions, {
    look: protocolOf,
    otherwise: "tcp",
    timeoutMs: isPatient ? timeouts.idleMs : timeouts.detectionMs,
    ...(isPatient ? { onCut: timeouts.onCut } : {}),
    found,
  });
}

/** `undefined`: more bytes are needed. */
function protocolOf(bytes: Buffer): Sniffed | undefined {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte === 0x20) return i > 0 ? "http1" : "tcp";
    const isUpperCaseOrDash = (byte >= 0x41 && byte <= 0x5a) || byte === 0x2d;
    if (!isUpperCaseOrDash || i >= METHOD_BYTES_MAX) return "tcp";
  }
  return undefined;
}
