/**
 * Holds what a stream receives while nobody can take it yet: a connection is being opened, or
 * judged. Nothing is credited, so the stream's window bounds what is held.
 */
import type { ByteConsumer, ByteStream } from "./byte-stream.ts";
import type { Relay } from "./relay.ts";

export class EarlyBytes implements ByteConsumer {
  readonly #onClosed: () => void;
  #held: Buffer[] = [];
  #isEnded = false;

  /** `onClosed`: the stream went away while it waited. */
  constructor(stream: ByteStream, onClosed: () => void) {
    this.#onClosed = onClosed;
    stream.consumer = this;
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.#held.push(Buffer.from(bytes.subarray(start, end)));
  }

  onEnd(): void {
    this.#isEnded = true;
  }

  onClosed(): void {
    this.#held = [];
    this.#onClosed();
  }

  /** Hands everything to the relay, which has become the stream's consumer. */
  pourInto(relay: Relay): void {
    for (const bytes of this.#held.splice(0)) relay.pushEarly(bytes);
    if (this.#isEnded) relay.pushEarlyEnd();
  }
}
