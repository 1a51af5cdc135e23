import { expect, test } from "vitest";
import { goDurationMs, parseGoDuration } from "./go-duration.ts";

test("parseGoDuration() reads what Go's ParseDuration reads", () => {
  const durations: [string, number | undefined][] = [
    ["0", 0],
    ["1h2m3.5s", 3_723_500],
    [".5s", 500],
    ["1.s", 1000],
    ["300us", 0.3],
    ["300µs", 0.3],
    ["999999ns", 0.999999],
    ["-1s", -1000],
    ["+1s", 1000],
    ["2562047h", 9_223_369_200_000],
    ["2562048h", undefined],
    ["", undefined],
    ["-", undefined],
    ["1", undefined],
    ["1d", undefined],
    [".s", undefined],
    ["1s ", undefined],
    ["1 s", undefined],
    ["1e3s", undefined],
  ];
  for (const [text, ms] of durations) {
    if (ms === undefined) expect(parseGoDuration(text), text).toBeUndefined();
    else expect(parseGoDuration(text), text).toBeCloseTo(ms, 6);
  }
});

test("goDurationMs() gives whole milliseconds, none of them negative", () => {
  expect(goDurationMs("1.6ms")).toBe(2);
  expect(goDurationMs("-1s")).toBeUndefined();
});
