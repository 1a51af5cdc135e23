/**
 * A client of HTTP/1.1 that has ended its side while it waits for an answer. Mostly it is gone: to
 * the end of a connection it is all the same whether the client has closed it or only its half, and
 * in a tunnel nothing else comes. So what was asked goes on as long as something of the answer
 * moves, and is cancelled upstream soon after.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { Exchange } from "./exchange.ts";

export class EndedClient implements DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #exchange: Exchange;
  #startMs = 0;
  #bytes = 0;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#wait();
  }

  #wait(): void {
    const { startMs, responseBodyBytes, context } = this.#exchange;
    this.#startMs = startMs;
    this.#bytes = responseBodyBytes;
    deadlinesOf(context.limits.endedClientTimeoutMs).arm(this, performance.now());
  }

  onDeadline(): void {
    const exchange = this.#exchange;
    const { isActive, startMs, responseBodyBytes, session } = exchange;
    if (!isActive) return;
    const isMoving = startMs !== this.#startMs || responseBodyBytes !== this.#bytes;
    // What it has not read yet shows that it is there, or not, by itself.
    if (isMoving || session.stream.queuedBytes > 0) {
      this.#wait();
      return;
    }
    exchange.flags = "DC";
    exchange.details = "downstream_remote_disconnect";
    session.abort();
  }

  stop(): void {
    Deadlines.disarm(this);
  }
}
