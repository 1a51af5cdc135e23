import { expect, test } from "vitest";
import { CarriedConnections } from "./carried-connections.ts";

const connection = () => ({ cut() {} });

test("add() refuses more than may be, and takes again when one has gone", () => {
  const carried = new CarriedConnections(2);
  const first = connection();
  expect([carried.add(first), carried.add(connection())]).toEqual([true, true]);
  expect(carried.add(connection())).toBe(false);
  carried.remove(first);
  expect(carried.add(connection())).toBe(true);
  expect(carried.size).toBe(2);
});

test("whenEmpty() resolves at once when there is none, and else with the last", async () => {
  const carried = new CarriedConnections();
  await carried.whenEmpty();
  const [first, second] = [connection(), connection()];
  carried.add(first);
  carried.add(second);
  let isEmpty = false;
  const waiting = carried.whenEmpty().then(() => {
    isEmpty = true;
  });
  carried.remove(first);
  await Promise.resolve();
  expect(isEmpty).toBe(false);
  carried.remove(second);
  await waiting;
});

test("cutAll() reaches each one, also when they leave meanwhile", () => {
  const carried = new CarriedConnections();
  const reasons: string[] = [];
  for (let i = 0; i < 3; i++) {
    const leaving = {
      cut(because: string) {
        reasons.push(because);
        carried.remove(leaving);
      },
    };
    carried.add(leaving);
  }
  carried.cutAll("the end");
  expect(reasons).toEqual(["the end", "the end", "the end"]);
  expect(carried.size).toBe(0);
});
