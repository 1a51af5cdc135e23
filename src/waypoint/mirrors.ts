/**
 * RequestMirror (Gateway API): copies of a request to other backends. The copy is what the rule's
 * filters have made of the request; as Envoy does it, its authority says `-shadow`. What becomes of
 * it, and what it is answered, changes nothing for the client; a mirror that is down, slow or does
 * not read is given up.
 */
import type { MirrorFilter } from "../model/route.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { HeadEdits } from "../net/http1/rewrite.ts";
import type { Exchange } from "./exchange.ts";
import { encodeHead } from "./request-heads.ts";
import { SubRequest, type SubRequestFailure, type SubRequestListener } from "./sub-request.ts";

/** Of a body, for a mirror that does not take it. */
const HELD_BYTES_MAX = 256 * 1024;

export class Mirrors {
  readonly #requests: SubRequest[] = [];
  readonly #timeoutMs: number;
  #isBodyDone = false;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  add(request: SubRequest): void {
    this.#requests.push(request);
  }

  body(bytes: Buffer, start: number, end: number): void {
    for (const request of this.#requests) request.body(bytes, start, end);
  }

  bodyEnd(): void {
    this.#isBodyDone = true;
    for (const request of this.#requests) {
      request.bodyEnd();
      request.limit(this.#timeoutMs);
    }
  }

  /** The client's request is over; without its end a copy would be of another. */
  exchangeEnd(): void {
    if (this.#isBodyDone) return;
    for (const request of this.#requests) request.cancel();
  }
}

/** `edits`: all that the rule changes in the head. null: nothing is mirrored this time. */
export function startMirrors(
  exchange: Exchange,
  filters: readonly MirrorFilter[],
  edits: HeadEdits,
): Mirrors | null {
  if (exchange.isUpgrade) return null;
  const { context, snapshot, head } = exchange;
  const rewritten = edits.authority;
  let mirrors: Mirrors | null = null;
  for (const { backend, share } of filters) {
    if (backend.service === undefined || Math.random() >= share) continue;
    const cluster = context.clusters.ofService(backend.service, backend.port, snapshot);
    edits.replaceAuthority(shadowOf(rewritten ?? head.authority));
    const encoded = encodeHead(head, edits, cluster.protocol, exchange.session.isHttp2);
    mirrors ??= new Mirrors(context.limits.mirrorTimeoutMs);
    const shape = { isChunked: exchange.isChunked, hasBody: exchange.hasRequestBody };
    const listener = new Discarding((result) => context.countMirrored(result));
    const request = new SubRequest(
      context,
      { method: exchange.method, ...shape, ...encoded },
      listener,
      HELD_BYTES_MAX,
    );
    mirrors.add(request);
    request.start(cluster, exchange.source, 0);
  }
  edits.replaceAuthority(rewritten);
  return mirrors;
}

/** `shop:8080` → `shop-shadow:8080`. */
function shadowOf(authority: string): string {
  if (authority === "") return authority;
  const [, host = authority, port = ""] = /^(.*?)(:\d+)?$/.exec(authority) ?? [];
  // An address in brackets stays one.
  return host.endsWith("]") ? authority : `${host}-shadow${port}`;
}

/** Answers of mirrors interest nobody. */
class Discarding implements SubRequestListener {
  readonly #count: (result: "answered" | SubRequestFailure) => void;

  constructor(count: (result: "answered" | SubRequestFailure) => void) {
    this.#count = count;
  }

  onAnswer(): void {}

  onAnswerBody(_bytes: Buffer, start: number, end: number, source: ByteStream): void {
    source.credit(end - start);
  }

  onAnswerEnd(): void {
    this.#count("answered");
  }

  onFailed(failure: SubRequestFailure): void {
    this.#count(failure);
  }
}
