/**
 * Finds out what a client speaks on a port that does not say (no appProtocol, no telling name).
 *
 * HTTP is recognised by its first bytes: a method's token and a space (HTTP/2's preface begins like
 * a request). Anything else is TCP. A client that says nothing is waited for, as Istio does by
 * default, or is taken for TCP after `protocolDetectionTimeout`; L7 rules then fail closed (policy:
 * HTTP attributes on TCP).
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { ByteConsumer, ByteStream } from "../net/byte-stream.ts";
import type { Drainable } from "./context.ts";
import { Stash } from "./stash.ts";

/** The longest registered method, and the space behind it. */
const METHOD_BYTES_MAX = 20;

export type Sniffed = "http1" | "tcp";

export class Sniffer implements ByteConsumer, DeadlineEntry, Drainable {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #stream: ByteStream;
  readonly #sessions: Set<Drainable>;
  readonly #found: (protocol: Sniffed, bytes: Buffer, isEnded: boolean) => void;
  readonly #stash = new Stash();
  readonly #isPatient: boolean;
  /** A refused stream keeps this consumer, and may still tell it that it has ended. */
  #isSettled = false;

  /**
   * `found` is called once, with the bytes read so far (not yet credited). `timeouts.detectionMs`
   * of 0 is none; then a client that says nothing at all is cut after `timeouts.idleMs`.
   */
  constructor(
    stream: ByteStream,
    sessions: Set<Drainable>,
    timeouts: { readonly detectionMs: number; readonly idleMs: number },
    found: (protocol: Sniffed, bytes: Buffer, isEnded: boolean) => void,
  ) {
    this.#stream = stream;
    this.#sessions = sessions;
    sessions.add(this);
    this.#found = found;
    stream.consumer = this;
    this.#isPatient = timeouts.detectionMs === 0;
    const lengthMs = this.#isPatient ? timeouts.idleMs : timeouts.detectionMs;
    deadlinesOf(lengthMs).arm(this, performance.now());
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#isSettled) {
      this.#stream.credit(end - start);
      return;
    }
    this.#stash.append(bytes, start, end);
    const protocol = protocolOf(this.#stash.peek());
    if (protocol !== undefined) this.#settle(protocol, false);
  }

  onEnd(): void {
    this.#settle("tcp", true);
  }

  onDeadline(): void {
    if (this.#isPatient) this.#stream.reset("timeout");
    else this.#settle("tcp", false);
  }

  /** A client that has said nothing loses nothing. */
  drain(graceMs: number): void {
    if (graceMs === 0 && !this.#isSettled) this.#stream.reset("cancel");
  }

  onClosed(): void {
    this.#forget();
    this.#stash.clear();
  }

  #forget(): void {
    this.#isSettled = true;
    this.#sessions.delete(this);
    Deadlines.disarm(this);
  }

  #settle(protocol: Sniffed, isEnded: boolean): void {
    if (this.#isSettled || this.#stream.consumer !== this) return;
    this.#forget();
    this.#found(protocol, this.#stash.take(), isEnded);
  }
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
