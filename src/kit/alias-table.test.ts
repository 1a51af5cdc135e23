import fc from "fast-check";
import { expect, test } from "vitest";
import { AliasTable } from "./alias-table.ts";

const weights = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1000 })), {
    minLength: 1,
    maxLength: 50,
  })
  .filter((all) => all.some((weight) => weight > 0));

test("each index gets its share of even draws", () => {
  fc.assert(
    fc.property(weights, (all) => {
      const table = new AliasTable(all);
      const draws = 20_000;
      const seen = new Array<number>(all.length).fill(0);
      for (let i = 0; i < draws; i++) seen[table.draw((i + 0.5) / draws)]!++;
      const total = all.reduce((sum, weight) => sum + weight, 0);
      all.forEach((weight, i) => {
        // Even draws miss the border of each column by less than one.
        expect(Math.abs(seen[i]! - (weight / total) * draws)).toBeLessThanOrEqual(all.length + 1);
      });
    }),
  );
});

test("a weight of nothing is never drawn", () => {
  fc.assert(
    fc.property(
      weights,
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (all, at) => {
        expect(all[new AliasTable(all).draw(at)]).toBeGreaterThan(0);
      },
    ),
  );
});
