/**
 * Large requests a few at a time: a proxy that comes back names all it holds, 7 MB in a mesh of
 * 50,000 workloads and several times that while it is read. The others wait where they are, for
 * HTTP/2 takes no more of a request than is read of it; so a thousand that come back at once cost
 * the memory of a few.
 */
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { Turns } from "../../kit/turns.ts";

/** What is asked for by name, and ACKs, are not waited with. */
const LARGE_BYTES = 256 * 1024;
const AT_ONCE = 4;
/** To send it, once it is its turn; whoever takes longer holds nobody up. */
const TURN_MS = 30_000;
/** Flags, and the length of the message. */
const ENVELOPE_BYTES = 5;

export interface LargeRequestLimits {
  readonly largeBytes: number;
  readonly atOnce: number;
  readonly turnMs: number;
}

const LIMITS: LargeRequestLimits = { largeBytes: LARGE_BYTES, atOnce: AT_ONCE, turnMs: TURN_MS };

export class LargeRequests {
  readonly #limits: LargeRequestLimits;
  readonly #turns: Turns;

  constructor(limits: LargeRequestLimits = LIMITS) {
    this.#limits = limits;
    this.#turns = new Turns(limits.atOnce);
  }

  /** For the requests of one method of a router. */
  limit({ handlers }: ConnectRouter, method: UniversalHandler["method"]): void {
    for (const [i, handler] of handlers.entries()) {
      if (handler.method !== method) continue;
      const limited: (...args: Parameters<UniversalHandler>) => ReturnType<UniversalHandler> = (
        request,
      ) => {
        const body = this.inTurn(request.body as AsyncIterable<Uint8Array>);
        return handler({ ...request, body });
      };
      handlers[i] = Object.assign(limited, handler);
    }
  }

  /** The same bytes: those of a large message when it is its turn, which ends when it is read. */
  async *inTurn(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const { largeBytes, turnMs } = this.#limits;
    const lengths = new MessageLengths();
    let isLate = false;
    let timer: NodeJS.Timeout | undefined;
    let release: (() => void) | undefined;
    const giveUp = () => {
      clearTimeout(timer);
      release?.();
      release = undefined;
    };
    try {
      for await (const chunk of body) {
        if (isLate) throw new ConnectError("the request comes too slowly", Code.DeadlineExceeded);
        const longest = lengths.take(chunk);
        if (release === undefined && longest > largeBytes) {
          release = await this.#turn();
          timer = setTimeout(() => {
            isLate = true;
            giveUp();
          }, turnMs);
        }
        yield chunk;
        // Asked for more: what was whole has been taken in.
        if (lengths.isBetween) giveUp();
      }
    } finally {
      giveUp();
    }
  }

  /** Resolves with the way to end the turn. */
  #turn(): Promise<() => void> {
    return new Promise((onTurn) => {
      void this.#turns.run(() => new Promise<void>((release) => onTurn(release)));
    });
  }
}

/** Where one message ends and the next begins. */
class MessageLengths {
  readonly #head: number[] = [];
  #left = 0;

  /** No part of a message is outstanding. */
  get isBetween(): boolean {
    return this.#left === 0 && this.#head.length === 0;
  }

  /** The length of the longest message that these bytes begin, or go on with the rest of. */
  take(chunk: Uint8Array): number {
    let longest = this.#left;
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#left -= taken;
        at += taken;
        continue;
      }
      this.#head.push(chunk[at++]!);
      if (this.#head.length < ENVELOPE_BYTES) continue;
      this.#left = Buffer.from(this.#head).readUInt32BE(1);
      this.#head.length = 0;
      longest = Math.max(longest, this.#left);
    }
    return longest;
  }
}
