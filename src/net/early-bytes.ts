/**
 * Holds what a stream receives while nobody can take it yet: a connection is being opened, or
 * judged. Nothing is credited, so the stream's window bounds what is held.
 */
import { BytePile } from "./byte-pile.ts";
import type { ByteConsumer, ByteStream } from "./byte-stream.ts";
import type { Relay } from "./relay.ts";

export class EarlyBytes implements ByteConsumer {
  readonly #onClosed: () => void;
  readonly #held = new BytePile();
  #isEnded = false;

  /** `onClosed`: the stream went away while it waited. */
  constructor(stream: ByteStream, onClosed: () => void) {
    this.#onClosed = onClosed;
    stream.consumer = this;
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.#held.add(bytes, start, end);
  }

  onEnd(): void {
    this.#isEnded = true;
  }

  onClosed(): void {
    this.#held.clear();
    this.#onClosed();
  }

  /** Hands everything to the relay, which has become the stream's consumer. */
  pourInto(relay: Relay): void {
    for (let bytes = this.#held.shift(); bytes !== undefined; bytes = this.#held.shift()) {
      relay.pushEarly(bytes);
    }
    if (this.#isEnded) relay.pushEarlyEnd();
  }
}
