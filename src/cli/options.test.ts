import { expect, test } from "vitest";
import { parseDuration, parseHeader, parsePort, parseWorkload } from "./options.ts";

test("parseWorkload() reads NAME=HOST:PORT", () => {
  expect(parseWorkload("mlflow=127.0.0.1:5000")).toEqual({
    workload: "mlflow",
    host: "127.0.0.1",
    port: 5000,
  });
  expect(parseWorkload("b:90=h:80")).toEqual({
    workload: "b",
    workloadPort: 90,
    host: "h",
    port: 80,
  });
  expect(parseWorkload("a/b=[::1]:80")).toEqual({ workload: "a/b", host: "::1", port: 80 });
  for (const text of ["mlflow", "mlflow=5000", "=127.0.0.1:1", "a=b:c", "a=b:70000", "a=::1:80"]) {
    expect(() => parseWorkload(text), text).toThrow();
  }
});

test("parseDuration() reads durations as Go writes them", () => {
  expect(parseDuration("90s")).toBe(90_000);
  expect(parseDuration("1m30s")).toBe(90_000);
  expect(parseDuration("500ms")).toBe(500);
  expect(parseDuration("1.5h")).toBe(5_400_000);
  for (const text of ["", "5", "5 s", "s", "-1s"])
    expect(() => parseDuration(text), text).toThrow();
});

test("parsePort() takes 0 to 65535", () => {
  expect(parsePort("0")).toBe(0);
  expect(parsePort("65535")).toBe(65_535);
  for (const text of ["65536", "-1", "1e3", "0x10", ""])
    expect(() => parsePort(text), text).toThrow();
});

test("parseHeader() splits at the first colon", () => {
  expect(parseHeader("x-a: b:c")).toEqual(["x-a", "b:c"]);
  expect(parseHeader("x-a:")).toEqual(["x-a", ""]);
  for (const text of ["x-a", ": b", "x a: b"]) expect(() => parseHeader(text), text).toThrow();
});
