import { appendFileSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { hasObjects, keys, names, WatchedSource } from "../../../test/support/watched-source.ts";
import { Failure } from "../../kit/failure.ts";
import { FileSource } from "./files.ts";

/** Nothing more is to come: longer than settling and the grace of a vanished file together. */
const QUIET_MS = 250;

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "waystone-files-"));
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function write(folder: string, name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

const serviceAccount = (name: string, ...lines: readonly string[]): string =>
  ["apiVersion: v1", "kind: ServiceAccount", "metadata:", `  name: ${name}`, ...lines, ""].join(
    "\n",
  );

const labelled = (name: string, value: string): string =>
  serviceAccount(name, "  labels:", `    version: ${value}`);

async function watched(...paths: string[]): Promise<WatchedSource<FileSource>> {
  const source = new FileSource(paths);
  ends.push(() => source.close());
  return await WatchedSource.start(source);
}

const quiet = () => new Promise((resolve) => setTimeout(resolve, QUIET_MS));

test("start() reads folders recursively, sorted, and nothing but YAML and JSON", async () => {
  const folder = makeFolder();
  write(folder, "b.yml", serviceAccount("b"));
  write(folder, "a.yaml", serviceAccount("a"));
  write(
    folder,
    "sub/c.json",
    JSON.stringify({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "c" } }),
  );
  write(folder, "notes.md", "not: [yaml");
  write(folder, ".hidden.yaml", "not: [yaml");
  write(folder, "a.yaml~", "not: [yaml");
  const { first, source } = await watched(folder);
  expect(names(first.upserted)).toEqual(["a", "b", "c"]);
  expect(first.upserted[0]!.position).toEqual({ file: join(folder, "a.yaml"), line: 1, column: 1 });
  expect(first.upserted[0]!.value.metadata.namespace).toBe("default");
  expect(source.diagnostics).toEqual([]);
});

test("start() reads a file that is given twice, by name and by folder, once", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", serviceAccount("a"));
  const { first } = await watched(folder, path, `${folder}/./a.yaml`);
  expect(names(first.upserted)).toEqual(["a"]);
});

test("start() refuses files with errors and says all of them", async () => {
  const folder = makeFolder();
  write(folder, "a.yaml", "kind: [");
  write(folder, "b.yaml", serviceAccount("b", "imagePullSecret: x"));
  const source = new FileSource([folder]);
  await expect(source.start()).rejects.toThrow(Failure);
  const told = source.diagnostics.map((d) => `${d.code} ${d.file}:${d.line}`);
  expect(told).toContain(`WS0002 ${join(folder, "b.yaml")}:5`);
  expect(told.some((line) => line.startsWith(`WS0001 ${join(folder, "a.yaml")}:1`))).toBe(true);
});

test("start() refuses a path that does not exist", async () => {
  const source = new FileSource([join(makeFolder(), "missing.yaml")]);
  await expect(source.start()).rejects.toThrow("CONFIGURATION_INVALID");
  expect(source.diagnostics).toMatchObject([
    { code: "WS0007", message: expect.stringContaining("no such file") },
  ]);
});

test("an object that only moved is told with its new place and the same value", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", labelled("a", "one"));
  const it = await watched(folder);
  const before = it.first.upserted[0]!;
  writeFileSync(path, `# a comment\n${labelled("a", "one")}`);
  const { upserted } = await it.next(hasObjects);
  expect(upserted).toHaveLength(1);
  expect(upserted[0]!.position.line).toBe(2);
  expect(upserted[0]!.positionOf(["metadata", "labels", "version"]).line).toBe(7);
  expect(upserted[0]!.value).toBe(before.value);
});

test("a bad edit changes nothing and is told; the correction is applied", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", labelled("a", "one"));
  const it = await watched(folder);
  writeFileSync(path, labelled("a", "{"));
  expect(hasObjects(await it.next())).toBe(false);
  expect(it.codes).toContain("WS0001");
  writeFileSync(path, labelled("a", "two").replace("labels", "lables"));
  await it.next();
  expect(it.source.diagnostics).toMatchObject([
    { code: "WS0002", line: 5, message: expect.stringContaining('did you mean "labels"') },
  ]);
  writeFileSync(path, labelled("a", "two"));
  const { upserted } = await it.next(hasObjects);
  expect(upserted[0]!.value.metadata.labels).toEqual({ version: "two" });
  expect(it.codes).toEqual([]);
});

test("while one file is bad, an edit to another waits; then both are one change", async () => {
  const folder = makeFolder();
  const a = write(folder, "a.yaml", labelled("a", "one"));
  const b = write(folder, "b.yaml", labelled("b", "one"));
  const it = await watched(folder);
  writeFileSync(a, "kind: [");
  await it.next();
  writeFileSync(b, labelled("b", "two"));
  await quiet();
  expect(it.changes.filter(hasObjects)).toEqual([]);
  writeFileSync(a, labelled("a", "two"));
  const { upserted } = await it.next(hasObjects);
  expect(names(upserted)).toEqual(["a", "b"]);
});

test("renaming over a file, as editors save, is an edit", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", labelled("a", "one"));
  const it = await watched(path);
  for (const version of ["two", "three"]) {
    renameSync(write(folder, ".a.yaml.swp", labelled("a", version)), path);
    const { upserted } = await it.next(hasObjects);
    expect(upserted[0]!.value.metadata.labels).toEqual({ version });
  }
});

test("moving a file away and writing it anew is one edit, not a removal", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", labelled("a", "one"));
  const it = await watched(folder);
  renameSync(path, `${path}~`);
  await new Promise((resolve) => setTimeout(resolve, 30));
  writeFileSync(path, labelled("a", "two"));
  const change = await it.next(hasObjects);
  expect(names(change.upserted)).toEqual(["a"]);
  expect(change.removed).toEqual([]);
});

test("a file that is emptied for a moment is waited for", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", labelled("a", "one"));
  const it = await watched(folder);
  writeFileSync(path, "");
  await new Promise((resolve) => setTimeout(resolve, 30));
  appendFileSync(path, labelled("a", "two"));
  const change = await it.next(hasObjects);
  expect(names(change.upserted)).toEqual(["a"]);
  expect(change.removed).toEqual([]);
});

test("a file that stays empty has no objects any more", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", serviceAccount("a"));
  const it = await watched(folder);
  writeFileSync(path, "");
  expect(keys((await it.next(hasObjects)).removed)).toEqual(["ServiceAccount/default/a"]);
});

test("new files, new folders and deletions are seen", async () => {
  const folder = makeFolder();
  write(folder, "a.yaml", serviceAccount("a"));
  const it = await watched(folder);
  const b = write(folder, "b.yaml", serviceAccount("b"));
  expect(names((await it.next(hasObjects)).upserted)).toEqual(["b"]);
  write(folder, "sub/deep/c.yaml", serviceAccount("c"));
  expect(names((await it.next(hasObjects)).upserted)).toEqual(["c"]);
  write(folder, "sub/deep/d.yaml", serviceAccount("d"));
  expect(names((await it.next(hasObjects)).upserted)).toEqual(["d"]);
  rmSync(b);
  expect(keys((await it.next(hasObjects)).removed)).toEqual(["ServiceAccount/default/b"]);
  rmSync(join(folder, "sub"), { recursive: true });
  expect(keys((await it.next(hasObjects)).removed)).toEqual([
    "ServiceAccount/default/c",
    "ServiceAccount/default/d",
  ]);
});

test("an object that moves to another file is neither removed nor a duplicate", async () => {
  const folder = makeFolder();
  const a = write(folder, "a.yaml", serviceAccount("a"));
  const it = await watched(folder);
  renameSync(a, join(folder, "b.yaml"));
  const change = await it.next();
  expect(it.codes).toEqual([]);
  expect(change.removed).toEqual([]);
  expect(change.upserted[0]!.position.file).toBe(join(folder, "b.yaml"));
  expect(change.upserted[0]!.value).toBe(it.first.upserted[0]!.value);
});

test("a given folder that is removed is refused; made anew, it is read and watched again", async () => {
  const folder = join(makeFolder(), "manifests");
  write(folder, "a.yaml", serviceAccount("a"));
  const it = await watched(folder);
  rmSync(folder, { recursive: true });
  expect(hasObjects(await it.next())).toBe(false);
  expect(it.codes).toEqual(["WS0007"]);
  write(folder, "a.yaml", labelled("a", "two"));
  expect(names((await it.next(hasObjects)).upserted)).toEqual(["a"]);
  write(folder, "a.yaml", labelled("a", "three"));
  const { upserted } = await it.next(hasObjects);
  expect(upserted[0]!.value.metadata.labels).toEqual({ version: "three" });
});

test("the same object in two documents is refused, naming both places", async () => {
  const folder = makeFolder();
  write(folder, "a.yaml", serviceAccount("a"));
  const it = await watched(folder);
  write(folder, "b.yaml", `# again\n${serviceAccount("a", "  namespace: default")}`);
  await it.next();
  const { message, ...where } = it.source.diagnostics[0]!;
  expect(where).toMatchObject({ code: "WS0004", file: join(folder, "b.yaml"), line: 2 });
  expect(message).toContain(`${join(folder, "a.yaml")}:1`);
});

test("events of other files in the folder of a given file are no reason to read", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", labelled("a", "one"));
  const it = await watched(path);
  write(folder, "b.yaml", "kind: [");
  await quiet();
  expect(it.changes).toEqual([]);
  expect(it.codes).toEqual([]);
});

test("a folder that never rests does not keep an edit waiting", async () => {
  const folder = makeFolder();
  const path = write(folder, "a.yaml", labelled("a", "one"));
  const noise = write(folder, "noise.yaml", "# 0\n");
  const it = await watched(folder);
  const timer = setInterval(() => appendFileSync(noise, "# more\n"), 5);
  ends.push(() => clearInterval(timer));
  writeFileSync(path, labelled("a", "two"));
  const { upserted } = await it.next(hasObjects);
  expect(names(upserted)).toEqual(["a"]);
});
