/**
 * Finds out what a client speaks on a port that does not say (no appProtocol, no telling name).
 *
 * HTTP/1 is recognised by its first bytes: a method's token and a space. Anything else is TCP. A
 * client that says nothing is waited for, as Istio does by default, or is taken for TCP after
 * `protocolDetectionTimeout`; L7 rules then fail closed (policy: HTTP attributes on TCP).
 */
import type { ByteConsumer, ByteStream } from "../net/byte-stream.ts";
import { Stash } from "./stash.ts";

/** The longest registered method, and the space behind it. */
const METHOD_BYTES_MAX = 20;

export type Sniffed = "http1" | "tcp";

export class Sniffer implements ByteConsumer {
  readonly #stream: ByteStream;
  readonly #found: (protocol: Sniffed, bytes: Buffer, isEnded: boolean) => void;
  readonly #stash = new Stash();
  #timer: NodeJS.Timeout | undefined;
  /** A refused stream keeps this consumer, and may still tell it that it has ended. */
  #isSettled = false;

  /** `found` is called once, with the bytes read so far (not yet credited). */
  constructor(
    stream: ByteStream,
    timeoutMs: number,
    found: (protocol: Sniffed, bytes: Buffer, isEnded: boolean) => void,
  ) {
    this.#stream = stream;
    this.#found = found;
    stream.consumer = this;
    if (timeoutMs > 0) this.#timer = setTimeout(() => this.#settle("tcp", false), timeoutMs);
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

  onClosed(): void {
    this.#isSettled = true;
    clearTimeout(this.#timer);
    this.#stash.clear();
  }

  #settle(protocol: Sniffed, isEnded: boolean): void {
    clearTimeout(this.#timer);
    if (this.#isSettled || this.#stream.consumer !== this) return;
    this.#isSettled = true;
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
