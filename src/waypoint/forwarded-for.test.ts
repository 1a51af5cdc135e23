import { expect, test } from "vitest";
import { forwardedAddress } from "./forwarded-for.ts";

test.each([
  [undefined, 0, undefined],
  ["", 0, undefined],
  ["10.0.0.1", 0, "10.0.0.1"],
  ["6.6.6.6, 10.0.0.1", 0, "10.0.0.1"],
  ["6.6.6.6, 10.0.0.1,10.0.0.2", 1, "10.0.0.1"],
  ["10.0.0.1", 1, undefined],
  ["2001:db8::1", 0, "2001:db8::1"],
  ["unknown", 0, undefined],
  ["10.0.0.1,", 0, undefined],
])("forwardedAddress() of %s with %i trusted proxies", (header, proxies, expected) => {
  expect(forwardedAddress(header, proxies)).toBe(expected);
});
