import { expect, test } from "vitest";
import { CommandError } from "../command-error.ts";
import { withSet } from "./set-values.ts";

test.each<[text: string, values: object]>([
  ["a=b", { a: "b" }],
  ["a.b=c,a.d=e", { a: { b: "c", d: "e" } }],
  ["a=", { a: "" }],
  ["a=1,b=-2,c=0,d=007,e=1.5,f=1e3", { a: 1, b: -2, c: 0, d: "007", e: "1.5", f: "1e3" }],
  ["a=true,b=false,c=null,d=True", { a: true, b: false, c: null, d: "True" }],
  ["a={x,y}", { a: ["x", "y"] }],
  ["a={}", { a: [] }],
  ["a={1,true},b=c", { a: [1, true], b: "c" }],
  ["a[1].b=c", { a: [null, { b: "c" }] }],
  ["a[0][1]=c", { a: [[null, "c"]] }],
  ["a=x\\,y", { a: "x,y" }],
  ["a\\.b/c=d", { "a.b/c": "d" }],
  ["a=b=c", { a: "b=c" }],
  ["a=9007199254740993", { a: "9007199254740993" }],
])("withSet() reads %s as helm does", (text, values) => {
  expect(withSet({}, text)).toEqual(values);
});

test("withSet() keeps what is beside, and changes nothing that it was given", () => {
  const before = { a: { b: 1, list: [1, 2] } };
  expect(withSet(before, "a.c=2,a.list[1]=3")).toEqual({ a: { b: 1, c: 2, list: [1, 3] } });
  expect(before).toEqual({ a: { b: 1, list: [1, 2] } });
});

test("withSet() sets no property that objects have by themselves", () => {
  const values = withSet({}, "__proto__.polluted=1,constructor.x=2");
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  expect(Object.keys(values)).toEqual(["__proto__", "constructor"]);
});

test.each(["a", "=b", "a.=b", "a[x]=b", "a[99999]=b", "a={b", "a={b}c", "[0]=a", "a,b=c", "a[0"])(
  "withSet() refuses %s",
  (text) => {
    expect(() => withSet({}, text)).toThrow(CommandError);
  },
);

test("withSet() refuses what goes too deep", () => {
  expect(() => withSet({}, `${"a.".repeat(50_000)}b=c`)).toThrow("too deep");
});
