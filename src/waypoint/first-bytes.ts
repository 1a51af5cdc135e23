/**
 * Reads the first bytes of a connection until they say what has to be known: the protocol
 * (sniffer.ts), or the server name (net/client-hello.ts).
 *
 * Nothing is credited meanwhile, so the stream's window bounds what is held. A client that says
 * nothing, or not enough, is taken for what silence means after a time-out.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { ByteConsumer, ByteStream } from "../net/byte-stream.ts";
import type { Drainable } from "./context.ts";
import { Stash } from "./stash.ts";

export interface FirstBytesOptions<T> {
  /** `undefined`: more bytes are needed. */
  readonly look: (bytes: Buffer) => T | undefined;
  /** What it is when the client ends, or says no more. */
  readonly otherwise: T;
  readonly timeoutMs: number;
  /** The time-out cuts the connection instead, and calls this. */
  readonly onCut?: () => void;
  /** Called once, with the bytes read so far (not yet credited). */
  readonly found: (what: T, bytes: Buffer, isEnded: boolean) => void;
}

export class FirstBytes<T> implements ByteConsumer, DeadlineEntry, Drainable {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #stream: ByteStream;
  readonly #sessions: Set<Drainable>;
  readonly #options: FirstBytesOptions<T>;
  readonly #stash = new Stash();
  /** A refused stream keeps this consumer, and may still tell it that it has ended. */
  #isSettled = false;

  constructor(stream: ByteStream, sessions: Set<Drainable>, options: FirstBytesOptions<T>) {
    this.#stream = stream;
    this.#sessions = sessions;
    this.#options = options;
    sessions.add(this);
    stream.consumer = this;
    deadlinesOf(options.timeoutMs).arm(this, performance.now());
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#isSettled) {
      this.#stream.credit(end - start);
      return;
    }
    this.#stash.append(bytes, start, end);
    const found = this.#options.look(this.#stash.peek());
    if (found !== undefined) this.#settle(found, false);
  }

  onEnd(): void {
    this.#settle(this.#options.otherwise, true);
  }

  onDeadline(): void {
    const { onCut, otherwise } = this.#options;
    if (onCut === undefined) this.#settle(otherwise, false);
    else {
      onCut();
      this.#stream.reset("timeout");
    }
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

  #settle(what: T, isEnded: boolean): void {
    if (this.#isSettled || this.#stream.consumer !== this) return;
    this.#forget();
    this.#options.found(what, this.#stash.take(), isEnded);
  }
}
