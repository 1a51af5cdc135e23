import fc from "fast-check";
import { expect, test } from "vitest";
import { Stash } from "./stash.ts";

const operation = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 900 }).map((bytes) => ({ append: Buffer.from(bytes) })),
  fc.nat({ max: 1500 }).map((use) => ({ use })),
);

test("a stash is a queue of bytes, whatever is taken and put back", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
      const stash = new Stash();
      let model = Buffer.alloc(0);
      for (const step of operations) {
        if ("append" in step) {
          stash.append(step.append, 0, step.append.length);
          model = Buffer.concat([model, step.append]);
        } else if (stash.length > 0) {
          const taken = stash.take();
          expect(stash.length).toBe(0);
          expect(taken.equals(model)).toBe(true);
          const used = Math.min(step.use, taken.length);
          if (used < taken.length) stash.append(taken, used, taken.length);
          model = model.subarray(used);
        }
        expect(stash.length).toBe(model.length);
        expect(stash.peek().equals(model)).toBe(true);
      }
    }),
  );
});

test("append() does not write into what was taken before", () => {
  const stash = new Stash();
  stash.append(Buffer.from("first"), 0, 5);
  const taken = stash.take();
  stash.append(Buffer.from("other"), 0, 5);
  expect(taken.toString()).toBe("first");
  stash.append(taken, 0, 5);
  expect(stash.peek().toString()).toBe("otherfirst");
});
