/**
 * An exchange behind its upgrade: bytes in both directions, up to the end of each.
 *
 * When one side has ended the other gets a moment to do so, too; what is queued still goes out.
 */
import { deadlinesOf } from "../kit/deadlines.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { Exchange } from "./exchange.ts";

export class UpgradedRelay {
  readonly #exchange: Exchange;
  isOpen = false;
  /** One side has ended. */
  isHalfEnded = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** For the next request. */
  reset(): void {
    this.isOpen = false;
    this.isHalfEnded = false;
  }

  up(bytes: Buffer, start: number, end: number): void {
    const exchange = this.#exchange;
    exchange.requestBodyBytes += end - start;
    const { stream } = exchange.session;
    if (exchange.upstream === null) stream.credit(end - start);
    else exchange.upstream.stream.write(bytes, start, end, stream);
  }

  upEnd(): void {
    this.#exchange.upstream?.stream.end();
    this.#halfEnd();
  }

  down(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.#exchange.responseBodyBytes += end - start;
    this.#exchange.session.stream.write(bytes, start, end, source);
  }

  downEnd(): void {
    this.#exchange.session.stream.end();
    this.#halfEnd();
  }

  /** Both directions upstream have ended. */
  closed(): void {
    this.#exchange.upstream = null;
    this.#exchange.finish();
  }

  #halfEnd(): void {
    const exchange = this.#exchange;
    if (this.isHalfEnded || !exchange.isActive) return;
    this.isHalfEnded = true;
    exchange.progress.begin(performance.now());
    deadlinesOf(exchange.context.limits.lingerMs).arm(exchange, performance.now());
  }
}
