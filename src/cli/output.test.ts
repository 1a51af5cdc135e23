import { expect, test } from "vitest";
import { table } from "./output.ts";

test("table() pads columns with spaces and nothing behind the last one", () => {
  const text = table(
    ["NAME", "PORT"],
    [
      ["reviews", "9080"],
      ["a", ""],
    ],
  );
  expect(text).toBe("NAME      PORT\nreviews   9080\na         -");
});

test("table() without rows is its header", () => {
  expect(table(["A", "B"], [])).toBe("A   B");
});
