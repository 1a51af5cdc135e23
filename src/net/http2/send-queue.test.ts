import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteStream } from "../byte-stream.ts";
import { SendQueue } from "./send-queue.ts";

class Source extends ByteStream {
  credited = 0;
  readonly isClosed = false;
  readonly queuedBytes = 0;
  write(): void {}
  end(): void {}
  reset(): void {}
  credit(count: number): void {
    this.credited += count;
  }
}

const settler = { settle: (source: ByteStream, count: number) => source.credit(count) };

/** Everything in the queue, and what its chunks take. */
function drain(queue: SendQueue): { bytes: Buffer; heldBytes: number } {
  const runs: Buffer[] = [];
  let heldBytes = 0;
  while (queue.bytes > 0) {
    heldBytes += queue.run.length;
    const run = Buffer.from(queue.run.subarray(queue.runStart, queue.runEnd));
    runs.push(run);
    queue.consume(run.length, settler);
  }
  return { bytes: Buffer.concat(runs), heldBytes };
}

test("two bytes take no more than a small chunk", () => {
  const queue = new SendQueue();
  queue.push(Buffer.from("ok"), 0, 2, null);
  expect(drain(queue)).toEqual({ bytes: Buffer.from("ok"), heldBytes: 256 });
});

test("bytes that trickle in take at most three times their number", () => {
  for (const count of [300, 5_000, 40_000]) {
    const queue = new SendQueue();
    for (let i = 0; i < count; i++) queue.push(Buffer.of(i), 0, 1, null);
    const { bytes, heldBytes } = drain(queue);
    expect(bytes).toEqual(Buffer.from(Uint8Array.from({ length: count }, (_, i) => i)));
    expect(heldBytes).toBeLessThan(3 * count);
  }
});

test("what goes in comes out, in order, and its sources have their credit", () => {
  const step = fc.record({ push: fc.nat(40_000), take: fc.nat(60_000), from: fc.nat(2) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const queue = new SendQueue();
      const sources = [new Source(), new Source(), new Source()];
      const given = sources.map(() => 0);
      const [all, out]: Buffer[][] = [[], []];
      for (const [i, { push, take, from }] of steps.entries()) {
        const bytes = Buffer.alloc(push, i + 1);
        all!.push(bytes);
        if (push > 0) queue.push(bytes, 0, push, sources[from]!);
        given[from]! += push;
        for (let left = take; left > 0 && queue.bytes > 0; ) {
          const count = Math.min(left, queue.runEnd - queue.runStart);
          out!.push(Buffer.from(queue.run.subarray(queue.runStart, queue.runStart + count)));
          queue.consume(count, settler);
          left -= count;
        }
      }
      out!.push(drain(queue).bytes);
      expect(Buffer.compare(Buffer.concat(out!), Buffer.concat(all!))).toBe(0);
      expect(sources.map(({ credited }) => credited)).toEqual(given);
    }),
  );
});
