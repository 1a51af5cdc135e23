import { expect, test } from "vitest";
import { nearest } from "./nearest.ts";

test("nearest() finds what was meant", () => {
  expect(nearest("reveiws", ["ratings", "reviews", "details"])).toBe("reviews");
  expect(nearest("Reviews", ["ratings", "reviews"])).toBe("reviews");
});

test("nearest() does not guess wildly", () => {
  expect(nearest("mlflow", ["ratings", "reviews"])).toBeUndefined();
  expect(nearest("x", [])).toBeUndefined();
});
