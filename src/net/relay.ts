/**
 * Two byte streams joined end to end: what one receives the other sends, half-closes included.
 * Credit flows through `write`, so neither side holds more than a window.
 */
import type { ByteConsumer, ByteStream, StreamReset } from "./byte-stream.ts";

export interface RelayListener {
  /** Both directions are over. `sent`: towards the client; `received`: from it. */
  onRelayEnd(sent: number, received: number, reset: StreamReset | undefined): void;
}

class Side implements ByteConsumer {
  readonly own: ByteStream;
  readonly other: ByteStream;
  readonly relay: Relay;
  bytes = 0;

  constructor(own: ByteStream, other: ByteStream, relay: Relay) {
    this.own = own;
    this.other = other;
    this.relay = relay;
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.bytes += end - start;
    this.other.write(bytes, start, end, this.own);
  }

  onEnd(): void {
    this.other.end();
  }

  onClosed(reset: StreamReset | undefined): void {
    this.relay.closed(this, reset);
  }
}

export class Relay {
  readonly #down: Side;
  readonly #up: Side;
  readonly #listener: RelayListener;
  #open = 2;
  #reset: StreamReset | undefined;

  constructor(downstream: ByteStream, upstream: ByteStream, listener: RelayListener) {
    this.#listener = listener;
    this.#down = new Side(downstream, upstream, this);
    this.#up = new Side(upstream, downstream, this);
    downstream.consumer = this.#down;
    upstream.consumer = this.#up;
  }

  /** Both ways so far. */
  get bytes(): number {
    return this.#up.bytes + this.#down.bytes;
  }

  /** Bytes that arrived from downstream before the relay was there; credited as any others. */
  pushEarly(bytes: Buffer): void {
    this.#down.onData(bytes, 0, bytes.length);
  }

  /** Downstream had ended before the relay was there. */
  pushEarlyEnd(): void {
    this.#down.onEnd();
  }

  closed(side: Side, reset: StreamReset | undefined): void {
    this.#open--;
    this.#reset ??= reset;
    if (this.#open === 0) {
      this.#listener.onRelayEnd(this.#up.bytes, this.#down.bytes, this.#reset);
    } else if (reset !== undefined) side.other.reset("cancel");
  }
}
