import { expect, test } from "vitest";
import { LargeRequests } from "./large-requests.ts";

const LIMITS = { largeBytes: 100, atOnce: 2, turnMs: 60_000 };

/** A message of so many bytes, as gRPC frames it. */
function message(size: number): Buffer {
  const framed = Buffer.alloc(5 + size);
  framed.writeUInt32BE(size, 1);
  return framed;
}

async function* chunks(...all: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* all;
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

/** Reads a body step by step; `read` is how many chunks have come. */
class Reader {
  read = 0;
  failure: unknown;
  readonly #body: AsyncGenerator<Uint8Array>;

  constructor(body: AsyncGenerator<Uint8Array>) {
    this.#body = body;
  }

  next(): void {
    this.#body.next().then(
      ({ done }) => {
        if (!done) this.read++;
      },
      (caught: unknown) => {
        this.failure = caught;
      },
    );
  }

  leave(): Promise<unknown> {
    return this.#body.return(undefined);
  }
}

test("LargeRequests lets so many large messages be read at once, in their order", async () => {
  const requests = new LargeRequests(LIMITS);
  const large = () => chunks(message(200).subarray(0, 50), message(200).subarray(50), message(1));
  const readers = Array.from({ length: 4 }, () => new Reader(requests.inTurn(large())));
  const reads = () => readers.map(({ read }) => read);
  for (const reader of readers) reader.next();
  await settled();
  expect(reads()).toEqual([1, 1, 0, 0]);
  readers[0]!.next();
  await settled();
  // It has come whole, and is perhaps being looked at.
  expect(reads()).toEqual([2, 1, 0, 0]);
  readers[0]!.next();
  await settled();
  expect(reads()).toEqual([3, 1, 1, 0]);
  // Who leaves in the middle passes the turn on.
  await readers[1]!.leave();
  await settled();
  expect(reads()).toEqual([3, 1, 1, 1]);
});

test("LargeRequests does not wait with small messages, however they are cut", async () => {
  const requests = new LargeRequests({ ...LIMITS, atOnce: 1 });
  const holder = new Reader(requests.inTurn(chunks(message(500).subarray(0, 9))));
  holder.next();
  const small = Buffer.concat([message(3), message(0), message(100)]);
  const bytes = [...small].map((byte) => Buffer.of(byte));
  const seen: Uint8Array[] = [];
  for await (const chunk of requests.inTurn(chunks(...bytes))) seen.push(chunk);
  expect(Buffer.concat(seen)).toEqual(small);
});

test("LargeRequests takes the turn from who does not send, and ends it when it does", async () => {
  const requests = new LargeRequests({ ...LIMITS, atOnce: 1, turnMs: 20 });
  let send = () => {};
  const slow = new Reader(
    requests.inTurn(
      (async function* () {
        yield message(500).subarray(0, 100);
        await new Promise<void>((resolve) => {
          send = resolve;
        });
        yield message(500).subarray(100);
      })(),
    ),
  );
  const other = new Reader(requests.inTurn(chunks(message(200))));
  slow.next();
  await settled();
  slow.next();
  other.next();
  await settled();
  expect(other.read).toBe(0);
  await new Promise((resolve) => setTimeout(resolve, 40));
  expect(other.read).toBe(1);
  send();
  await settled();
  expect(slow.failure).toMatchObject({ code: 4 });
});
