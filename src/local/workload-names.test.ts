import { expect, test } from "vitest";
import { findMeant, shortName } from "./workload-names.ts";

const REVIEWS = { namespace: "bookinfo", name: "reviews-v1-abc-de", workloadName: "reviews-v1" };
const SIBLING = { namespace: "bookinfo", name: "reviews-v1-abc-fg", workloadName: "reviews-v1" };
const OTHER = { namespace: "test", name: "reviews-v1", workloadName: "reviews-v1" };
const ALL = [REVIEWS, SIBLING];

test("findMeant() takes a Pod's name, its owner's, and a namespace before it", () => {
  expect(findMeant("reviews-v1-abc-fg", ALL)).toEqual([SIBLING]);
  expect(findMeant("reviews-v1", ALL)).toEqual(ALL);
  expect(findMeant("bookinfo/reviews-v1", [...ALL, OTHER])).toEqual(ALL);
  expect(findMeant("test/reviews-v1", [...ALL, OTHER])).toEqual([OTHER]);
  expect(findMeant("ratings", ALL)).toEqual([]);
});

test("shortName() adds the namespace only where it is needed", () => {
  expect(shortName(REVIEWS, ALL)).toBe("reviews-v1");
  expect(shortName(REVIEWS, [...ALL, OTHER])).toBe("bookinfo/reviews-v1");
});
