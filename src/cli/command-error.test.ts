import { expect, test } from "vitest";
import { Failure } from "../kit/failure.ts";
import { describeError, usageError } from "./command-error.ts";

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: open '/x'`), { code });
}

test("describeError() says what to do about what the system refuses", () => {
  const text = describeError(systemError("EMFILE"), false);
  expect(text).toMatch(/^Error: EMFILE: open '\/x'\n.*ulimit -n/);
});

test("describeError() finds the system's code behind a Failure", () => {
  const failure = Failure.from(systemError("ENOTDIR"), "CONFIGURATION_INVALID");
  expect(describeError(failure, false)).toContain("name a folder");
});

test("describeError() keeps a command's own hint", () => {
  expect(describeError(usageError("no", "do this"), false)).toBe("Error: no\ndo this");
});
