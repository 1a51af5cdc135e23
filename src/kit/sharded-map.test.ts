import fc from "fast-check";
import { expect, test } from "vitest";
import { ShardedMap } from "./sharded-map.ts";

test("edit() does what a Map does and leaves the map before it alone", () => {
  const change = fc.tuple(fc.string({ maxLength: 2 }), fc.option(fc.nat(3), { nil: undefined }));
  fc.assert(
    fc.property(fc.array(fc.array(change)), (batches) => {
      let map = ShardedMap.empty<number>();
      const model = new Map<string, number>();
      for (const batch of batches) {
        const before = map;
        const seen = new Map(map.entries());
        const edit = map.edit();
        for (const [key, value] of batch) {
          if (value === undefined) {
            edit.delete(key);
            model.delete(key);
          } else {
            edit.set(key, value);
            model.set(key, value);
          }
        }
        map = edit.finish();
        expect(new Map(before.entries())).toEqual(seen);
        expect(new Map(map.entries())).toEqual(model);
        expect(map.size).toBe(model.size);
        expect([...map.values()].sort()).toEqual([...model.values()].sort());
      }
      for (const [key, value] of model) expect(map.get(key)).toBe(value);
    }),
  );
});

test("finish() gives back the same map when nothing changed", () => {
  const map = ShardedMap.from([["a", 1]]);
  const edit = map.edit();
  edit.set("a", 1);
  edit.delete("b");
  expect(edit.finish()).toBe(map);
});

test("keys spread over the shards", () => {
  const keys = Array.from({ length: 50_000 }, (_, i) => `Kubernetes//Pod/shop/cart-${i}`);
  const map = ShardedMap.from(keys.map((key) => [key, key] as const));
  const sizes = keys.slice(0, 100).map((key) => {
    const edit = map.edit();
    edit.set(key, "");
    return edit.copiedEntries;
  });
  expect(Math.max(...sizes)).toBeLessThan(200);
});
