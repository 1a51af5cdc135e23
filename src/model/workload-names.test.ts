import { expect, test } from "vitest";
import { findMeant, shortName } from "./workload-names.ts";

const workload = (namespace: string, name: string, workloadName: string) => ({
  namespace,
  name,
  workloadName,
  canonicalName: "reviews",
});
const REVIEWS = workload("bookinfo", "reviews-v1-abc-de", "reviews-v1");
const SIBLING = workload("bookinfo", "reviews-v1-abc-fg", "reviews-v1");
const OTHER = workload("test", "reviews-v1", "reviews-v1");
const ALL = [REVIEWS, SIBLING];

test("findMeant() takes a Pod's name, its owner's, and a namespace before it", () => {
  expect(findMeant("reviews-v1-abc-fg", ALL)).toEqual([SIBLING]);
  expect(findMeant("reviews-v1", ALL)).toEqual(ALL);
  expect(findMeant("bookinfo/reviews-v1", [...ALL, OTHER])).toEqual(ALL);
  expect(findMeant("test/reviews-v1", [...ALL, OTHER])).toEqual([OTHER]);
  expect(findMeant("ratings", ALL)).toEqual([]);
  expect(findMeant("reviews", ALL)).toEqual(ALL);
  const named = workload("bookinfo", "reviews", "reviews");
  expect(findMeant("reviews", [...ALL, named])).toEqual([named]);
});

test("shortName() adds the namespace only where it is needed", () => {
  expect(shortName(REVIEWS, ALL)).toBe("reviews-v1");
  expect(shortName(REVIEWS, [...ALL, OTHER])).toBe("bookinfo/reviews-v1");
});
