import { describe, expect, test } from "vitest";
import { Random } from "../../test/fuzz/random.ts";
import { BytePile } from "./byte-pile.ts";

describe("BytePile", () => {
  test("gives back what it got, in its order", () => {
    const random = new Random(7);
    for (let round = 0; round < 50; round++) {
      const pile = new BytePile();
      const sent: number[] = [];
      const got: number[] = [];
      for (let i = 0; i < 200; i++) {
        const piece = Buffer.from(
          Array.from({ length: random.below(40) }, () => random.below(256)),
        );
        const start = random.below(piece.length + 1);
        pile.add(piece, start, piece.length);
        sent.push(...piece.subarray(start));
        piece.fill(0);
        if (random.below(8) === 0) got.push(...(pile.shift() ?? []));
        expect(pile.bytes).toBe(sent.length - got.length);
      }
      expect(Buffer.concat(pile.parts())).toEqual(Buffer.from(sent.slice(got.length)));
      for (let part = pile.shift(); part !== undefined; part = pile.shift()) got.push(...part);
      expect(got).toEqual(sent);
      expect(pile.bytes).toBe(0);
    }
  });

  test("holds no more than twice what comes byte by byte, and one piece as it is", () => {
    const pile = new BytePile();
    for (let i = 0; i < 100_000; i++) pile.add(Buffer.from([i]), 0, 1);
    expect(pile.parts().length).toBeLessThan(30);
    const one = new BytePile();
    one.add(Buffer.alloc(1000), 0, 1000);
    expect(one.shift()!.byteLength).toBe(1000);
  });

  test("is empty after clear()", () => {
    const pile = new BytePile();
    pile.add(Buffer.from("ab"), 0, 2);
    pile.clear();
    expect(pile.shift()).toBeUndefined();
    pile.add(Buffer.from("c"), 0, 1);
    expect(String(pile.shift())).toBe("c");
  });
});
