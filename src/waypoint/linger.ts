/**
 * The time behind our end of a stream: the peer should end its side, too, once it has read what is
 * left for it. One that does not gets its stream cut, or it would keep it for ever.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { WaypointLimits } from "./limits.ts";

export class Linger implements DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #stream: ByteStream;
  readonly #limits: WaypointLimits;
  #queuedBytes = -1;
  #stuckMs = 0;

  constructor(stream: ByteStream, limits: WaypointLimits) {
    this.#stream = stream;
    this.#limits = limits;
    this.#wait();
  }

  #wait(): void {
    deadlinesOf(this.#limits.lingerMs).arm(this, performance.now());
  }

  /** A peer that reads what is left for it, however slowly, gets it all. */
  onDeadline(): void {
    const { queuedBytes } = this.#stream;
    const isMoving = queuedBytes !== this.#queuedBytes;
    this.#queuedBytes = queuedBytes;
    this.#stuckMs = isMoving ? 0 : this.#stuckMs + this.#limits.lingerMs;
    const isOver = queuedBytes === 0 || this.#stuckMs > this.#limits.unreadTimeoutMs;
    if (isOver) this.#stream.reset("cancel");
    else this.#wait();
  }

  /** The stream is closed. */
  stop(): void {
    Deadlines.disarm(this);
  }
}
