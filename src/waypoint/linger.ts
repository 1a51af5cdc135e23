/**
 * The time behind our end of a stream: the peer should end its side, too, once it has read what is
 * left for it. One that does not gets its stream cut, or it would keep it for ever.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { WaypointContext } from "./context.ts";

export class Linger implements DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #stream: ByteStream;
  readonly #context: Pick<WaypointContext, "limits" | "limitsReached">;
  #queuedBytes = -1;
  #stuckMs = 0;

  constructor(stream: ByteStream, context: Pick<WaypointContext, "limits" | "limitsReached">) {
    this.#stream = stream;
    this.#context = context;
    this.#wait();
  }

  #wait(): void {
    deadlinesOf(this.#context.limits.lingerMs).arm(this, performance.now());
  }

  /** A peer that reads what is left for it, however slowly, gets it all. */
  onDeadline(): void {
    const { queuedBytes } = this.#stream;
    const isMoving = queuedBytes !== this.#queuedBytes;
    this.#queuedBytes = queuedBytes;
    const { limits, limitsReached } = this.#context;
    this.#stuckMs = isMoving ? 0 : this.#stuckMs + limits.lingerMs;
    const isUnread = queuedBytes > 0;
    if (isUnread && this.#stuckMs <= limits.unreadTimeoutMs) {
      this.#wait();
      return;
    }
    if (isUnread) limitsReached.reached("unread_answer");
    this.#stream.reset("cancel");
  }

  /** The stream is closed. */
  stop(): void {
    Deadlines.disarm(this);
  }
}
