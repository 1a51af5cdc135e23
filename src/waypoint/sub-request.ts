/**
 * A request of the waypoint's own, beside one of a client's: a mirrored copy, a question to an
 * authorizer. It is balanced and sent as any other, once: whoever made it decides what a failure
 * means.
 *
 * Its body is written as it comes, and never waited for: what the backend does not take is held up
 * to a limit, and then the sub-request is given up. So it cannot slow the client's request down.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { Failure } from "../kit/failure.ts";
import type { Workload } from "../model/workload.ts";
import { BytePile } from "../net/byte-pile.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import type { Cluster, UpstreamEndpoint } from "./cluster.ts";
import type { WaypointContext } from "./context.ts";
import type { Dial, DialListener } from "./dial.ts";
import { Http1Upstream } from "./http1-upstream.ts";
import type { MessageHead } from "./message-head.ts";
import type { Trailers, Upstream, UpstreamFailure, UpstreamRequest } from "./upstream.ts";

export interface SubRequestHead {
  readonly method: string;
  /** For HTTP/1.1 … */
  readonly bytes: Buffer | null;
  /** … or for HTTP/2. */
  readonly list: HeaderList | null;
  readonly isChunked: boolean;
  readonly hasBody: boolean;
}

/** `noEndpoint`, `connect`: nobody was reached; `overflow`: its backend does not keep up. */
export type SubRequestFailure = UpstreamFailure | "noEndpoint" | "connect" | "overflow";

export interface SubRequestListener {
  onAnswer(head: MessageHead): void;
  /** Bytes are the listener's to credit. */
  onAnswerBody(bytes: Buffer, start: number, end: number, source: ByteStream): void;
  onAnswerEnd(trailers: Trailers): void;
  /** Once, and then nothing more. */
  onFailed(failure: SubRequestFailure): void;
}

const NO_HEADERS: HeaderList = [];
const NO_TRAILERS: Trailers = [];

export class SubRequest implements UpstreamRequest, DialListener, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly context: WaypointContext;
  readonly method: string;
  readonly hasRequestBody: boolean;
  readonly isUpgrade = false;
  readonly requestHead: Buffer | null;
  readonly requestHeadBytes: number;
  readonly requestList: HeaderList | null;
  readonly attempts = this;
  readonly relay = NO_RELAY;
  endpoint: UpstreamEndpoint | undefined;
  dial: Dial | null = null;
  readonly #isChunked: boolean;
  readonly #listener: SubRequestListener;
  readonly #heldBytesMax: number;
  #upstream: Upstream | null = null;
  /** Body that waits for a connection. */
  readonly #waiting = new BytePile();
  #isBodyDone = false;
  #isOver = false;

  constructor(
    context: WaypointContext,
    head: SubRequestHead,
    listener: SubRequestListener,
    heldBytesMax: number,
  ) {
    this.context = context;
    this.method = head.method;
    this.hasRequestBody = head.hasBody;
    this.requestHead = head.bytes;
    this.requestHeadBytes = head.bytes?.length ?? 0;
    this.requestList = head.list;
    this.#isChunked = head.isChunked;
    this.#listener = listener;
    this.#heldBytesMax = heldBytesMax;
  }

  /** `timeoutMs`: until the answer's end; 0: no limit. */
  start(cluster: Cluster, source: Workload | undefined, timeoutMs: number): void {
    const endpoint = cluster.pick([], source);
    if (endpoint === undefined) {
      this.#fail("noEndpoint");
      return;
    }
    this.limit(timeoutMs);
    endpoint.active++;
    this.endpoint = endpoint;
    if (this.requestList !== null) {
      endpoint.http2Pool.open(this);
      return;
    }
    const idle = endpoint.takeIdle();
    if (idle !== undefined) this.attach(idle);
    else this.dial = this.context.dialer.dial(endpoint, NO_HEADERS, this);
  }

  /** From now on it has so long. */
  limit(timeoutMs: number): void {
    if (timeoutMs > 0 && !this.#isOver) deadlinesOf(timeoutMs).arm(this, performance.now());
  }

  onDialed(stream: ByteStream): void {
    this.dial = null;
    this.attach(new Http1Upstream(stream, this.endpoint!));
  }

  attach(upstream: Upstream): void {
    this.dial = null;
    this.#upstream = upstream;
    upstream.begin(this);
    for (let bytes = this.#waiting.shift(); bytes !== undefined; bytes = this.#waiting.shift()) {
      if (this.#upstream !== upstream) return;
      upstream.sendBody(bytes, 0, bytes.length, null, this.#isChunked);
    }
    if (this.#isBodyDone && this.#upstream === upstream) this.#end(upstream);
  }

  onDialFailed(_failure: Failure): void {
    this.dial = null;
    this.#fail("connect");
  }

  body(bytes: Buffer, start: number, end: number): void {
    if (this.#isOver) return;
    const upstream = this.#upstream;
    if (upstream === null) {
      this.#waiting.add(bytes, start, end);
      if (this.#waiting.bytes > this.#heldBytesMax) this.#fail("overflow");
      return;
    }
    upstream.sendBody(bytes, start, end, null, this.#isChunked);
    if (upstream.stream.queuedBytes > this.#heldBytesMax) this.#fail("overflow");
  }

  bodyEnd(): void {
    this.#isBodyDone = true;
    if (this.#upstream !== null) this.#end(this.#upstream);
  }

  #end(upstream: Upstream): void {
    upstream.endRequest(NO_TRAILERS, this.#isChunked);
  }

  onInterimHead(): void {}

  onResponseHead(head: MessageHead): void {
    this.#listener.onAnswer(head);
  }

  onResponseBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.#listener.onAnswerBody(bytes, start, end, source);
  }

  onResponseEnd(trailers: Trailers): void {
    if (this.#isOver) return;
    this.#over();
    this.#listener.onAnswerEnd(trailers);
  }

  onUpgraded(): boolean {
    return false;
  }

  onUpstreamFailed(kind: UpstreamFailure): void {
    this.#fail(kind);
  }

  onDeadline(): void {
    this.#fail("timeout");
  }

  #fail(failure: SubRequestFailure): void {
    if (this.#isOver) return;
    this.cancel();
    this.#listener.onFailed(failure);
  }

  /** Nobody wants to hear of it any more. */
  cancel(): void {
    if (this.#isOver) return;
    const upstream = this.#upstream;
    this.#over();
    this.dial?.abort();
    this.dial = null;
    upstream?.cancel();
  }

  #over(): void {
    this.#isOver = true;
    this.#upstream = null;
    this.#waiting.clear();
    Deadlines.disarm(this);
    if (this.endpoint !== undefined) this.endpoint.active--;
  }
}

/** It never asks for an upgrade, so it never gets one. */
const NO_RELAY = {
  down(_bytes: Buffer, _start: number, _end: number, _source: ByteStream): void {},
  downEnd(): void {},
  closed(): void {},
};
