import { expect, test } from "vitest";
import { FILE_BYTES_MAX, KUBECTL_YAML, parseYaml } from "./yaml.ts";

const codes = (text: string) => parseYaml(text, "a.yaml").diagnostics.map((d) => d.code);

test("parseYaml() finds nothing in what is empty", () => {
  for (const text of ["", "\n", "# only a comment\n", "---\n", "---\n# a\n---\n---\n", "null"]) {
    expect(parseYaml(text, "a.yaml"), text).toEqual({ objects: [], diagnostics: [] });
  }
});

test("parseYaml() skips empty documents between others", () => {
  const { objects } = parseYaml("---\na: 1\n---\n# nothing\n---\nb: 2\n", "a.yaml");
  expect(objects.map((o) => o.value)).toEqual([{ a: 1 }, { b: 2 }]);
  expect(objects.map((o) => o.position.line)).toEqual([2, 6]);
});

test("parseYaml() says where a syntax error stands, and reads the other documents", () => {
  const { objects, diagnostics } = parseYaml("a: 1\n---\nb: [1, 2\nc: }\n---\nd: 4\n", "a.yaml");
  expect(diagnostics.length).toBeGreaterThan(0);
  expect(diagnostics.every((d) => d.code === "WS0001")).toBe(true);
  expect(diagnostics[0]).toMatchObject({ file: "a.yaml" });
  expect([3, 4]).toContain(diagnostics[0]!.line);
  expect(objects.map((o) => o.value)).toEqual([{ a: 1 }, { d: 4 }]);
});

test("parseYaml() tells the first of many syntax errors, and how many follow", () => {
  const { diagnostics } = parseYaml("{ a: [".repeat(300), "many.yaml");
  expect(diagnostics).toHaveLength(6);
  expect(diagnostics[5]!.message).toMatch(/^\d+ more syntax errors follow$/);
});

test("parseYaml() says of a text that is nested too deeply just that", () => {
  const { diagnostics } = parseYaml("[".repeat(20_000), "deep.yaml");
  expect(diagnostics.map(({ message }) => message)).toEqual(["the values are nested too deeply"]);
});

test("parseYaml() refuses duplicate keys, at the second", () => {
  const { diagnostics } = parseYaml("a: 1\nb:\n  c: 1\n  c: 2\n", "a.yaml");
  expect(diagnostics).toEqual([expect.objectContaining({ code: "WS0001", line: 4, column: 3 })]);
});

test("parseYaml() expands aliases, but not without bound", () => {
  const { objects } = parseYaml("a: &x [1]\nb: *x\n", "a.yaml");
  expect(objects[0]!.value).toEqual({ a: [1], b: [1] });
  expect(objects[0]!.positionOf(["b"])).toMatchObject({ line: 2, column: 4 });
  const levels = Array.from(
    { length: 9 },
    (_, i) => `l${i + 1}: &l${i + 1} [${Array(9).fill(`*l${i}`).join(", ")}]`,
  );
  const started = performance.now();
  expect(codes(`l0: &l0 [x]\n${levels.join("\n")}\n`)).toEqual(["WS0001"]);
  expect(performance.now() - started).toBeLessThan(2000);
});

test("an alias of nothing, and one of itself, are errors", () => {
  expect(codes("a: *nothing\n")).toEqual(["WS0001"]);
  const { objects, diagnostics } = parseYaml("a: 1\n---\na: &a\n  b: [*a]\n", "a.yaml");
  expect(objects.map((o) => o.value)).toEqual([{ a: 1 }]);
  expect(diagnostics).toEqual([expect.objectContaining({ code: "WS0001", line: 4, column: 7 })]);
});

test("parseYaml() refuses a text that is too large", () => {
  expect(codes(" ".repeat(FILE_BYTES_MAX + 1))).toEqual(["WS0006"]);
  expect(codes("é".repeat(FILE_BYTES_MAX / 2 + 1))).toEqual(["WS0006"]);
});

test("parseYaml() refuses a stream of too many documents", () => {
  expect(codes("a: 1\n---\n".repeat(20_001))).toEqual(["WS0006"]);
});

test("positionOf() goes to keys, items and through empty values", () => {
  const { objects } = parseYaml("a:\n  - b: 1\n  -\n    c:\n", "a.yaml");
  const object = objects[0]!;
  expect(object.positionOf(["a", 0, "b"])).toMatchObject({ line: 2, column: 8 });
  expect(object.positionOfKey(["a", 0, "b"])).toMatchObject({ line: 2, column: 5 });
  expect(object.positionOfKey(["a", 1, "c"])).toMatchObject({ line: 4, column: 5 });
});

test("windows line ends and a byte order mark change no position", () => {
  const { objects } = parseYaml("\uFEFFa: 1\r\nb:\r\n  c: 2\r\n", "a.yaml");
  expect(objects[0]!.value).toEqual({ a: 1, b: { c: 2 } });
  expect(objects[0]!.positionOf(["b", "c"])).toMatchObject({ line: 3, column: 6 });
});

test("parseYaml() reads YAML as kubectl does where it is asked to, and nothing that JSON lacks", () => {
  const text = `
plain: [yes, off, 0440, 1_000, 2026-01-02, 10:20, 0x1f]
tagged: [!!binary aGk=, !!timestamp 2001-01-01, !!omap [a: 1], !!set { a }]
`;
  const { objects, diagnostics } = parseYaml(text, "a.yaml", KUBECTL_YAML);
  expect(diagnostics).toEqual([]);
  expect(objects[0]?.value).toEqual({
    plain: [true, false, 0o440, 1000, "2026-01-02", "10:20", 31],
    tagged: ["aGk=", "2001-01-01", [{ a: 1 }], { a: null }],
  });
  expect(parseYaml("a: [yes, 0440]", "a.yaml").objects[0]?.value).toEqual({ a: ["yes", 440] });
});
