import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type EncodedResource, RESOURCE_TYPES } from "../../wire/resource.ts";
import { SharedLists } from "./response-tails.ts";

const KIB = 1024;

function resource(name: string, size = 10 * KIB): EncodedResource {
  const bytes = new Uint8Array(size);
  return { type: RESOURCE_TYPES.address, name, version: "1", bytes };
}

const large = Array.from({ length: 20 }, (_, i) => resource(`w-${i}`));

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

test("SharedLists encodes a list once for all who are sent the very same resources", () => {
  const lists = new SharedLists();
  const first = lists.encoded(large);
  expect(lists.encoded([...large])).toBe(first);
  expect(lists.encoded(large.slice(0, 19))).not.toBe(first);
  const changed = [...large.slice(0, 19), resource("w-19")];
  expect(lists.encoded(changed)).not.toBe(first);
});

test("SharedLists forgets what nobody has asked for lately, and small lists at once", () => {
  const lists = new SharedLists();
  const small = [resource("small")];
  expect(lists.encoded(small)).not.toBe(lists.encoded(small));
  const first = lists.encoded(large);
  vi.advanceTimersByTime(9_000);
  expect(lists.encoded(large)).toBe(first);
  vi.advanceTimersByTime(2_000);
  const again = lists.encoded(large);
  expect(again).not.toBe(first);
  expect(again).toEqual(first);
});

test("SharedLists holds no more than it may", () => {
  const lists = new SharedLists();
  const first = lists.encoded(large);
  const mebibytes = (i: number) => [resource(`m-${i}`, 32 * KIB * KIB)];
  for (let i = 0; i < 3; i++) lists.encoded(mebibytes(i));
  expect(lists.encoded(large)).toBe(first);
  lists.encoded(mebibytes(3));
  expect(lists.encoded(large)).not.toBe(first);
});
