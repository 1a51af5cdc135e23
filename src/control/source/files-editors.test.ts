/** What editors and people do to watched folders beside editing files. */
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { ObjectChange } from "../../api/object.ts";
import { FileSource } from "./files.ts";

const service = (name: string, port = 80) =>
  `apiVersion: v1\nkind: Service\nmetadata: { name: ${name}, namespace: shop }\n` +
  `spec: { ports: [{ port: ${port} }] }\n`;

async function folderWith(files: Record<string, string>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "waystone-files-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}

async function started(...paths: string[]): Promise<FileSource> {
  const source = new FileSource(paths);
  onTestFinished(() => source.close());
  await source.start();
  return source;
}

/** The changes heard from the edit until one of them has the objects, and removals, awaited. */
function heardAfter(
  source: FileSource,
  edit: () => Promise<unknown>,
  isAwaited: (change: ObjectChange) => boolean,
): Promise<ObjectChange> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no such change came")), 5000);
    const stop = source.subscribe((change) => {
      if (!isAwaited(change)) return;
      clearTimeout(timer);
      stop();
      resolve(change);
    });
    edit().catch(reject);
  });
}

const upserts =
  (...names: string[]) =>
  ({ upserted }: ObjectChange) =>
    names.every((name) => upserted.some((object) => object.value.metadata.name === name));

test("dot files and editors' temporary files are not read", async () => {
  const path = await folderWith({ "a.yaml": service("a") });
  const source = await started(path);
  const heard: ObjectChange[] = [];
  source.subscribe((change) => heard.push(change));
  for (const name of [".b.yaml", ".a.yaml.swp", "a.yaml~", "#a.yaml#", "4913", "a.yaml.tmp"]) {
    await writeFile(join(path, name), "not: [yaml");
  }
  await mkdir(join(path, ".git"));
  await writeFile(join(path, ".git/c.yaml"), service("c"));
  // An edit that is heard proves that the others have been seen before it.
  await heardAfter(source, () => writeFile(join(path, "z.yaml"), service("z")), upserts("z"));
  expect(heard.flatMap((c) => c.upserted.map((o) => o.value.metadata.name))).toEqual(["z"]);
  expect(source.diagnostics).toEqual([]);
});

test("a folder inside a new folder is read, watched, and may go again", async () => {
  const path = await folderWith({ "a.yaml": service("a") });
  const source = await started(path);
  const inner = join(path, "new/inner");
  const file = join(inner, "b.yaml");
  const make = async () => {
    await mkdir(inner, { recursive: true });
    await writeFile(file, service("b"));
  };
  await heardAfter(source, make, upserts("b"));
  await heardAfter(source, () => writeFile(file, service("b", 81)), upserts("b"));
  const gone = await heardAfter(
    source,
    () => rm(join(path, "new"), { recursive: true }),
    ({ removed }) => removed.length > 0,
  );
  expect(gone.removed).toEqual([{ kind: "Service", namespace: "shop", name: "b" }]);
});

test("a single file is followed through saves that rename over it, again and again", async () => {
  const path = await folderWith({ "a.yaml": service("a") });
  const file = join(path, "a.yaml");
  const source = await started(file);
  for (const port of [81, 82, 83]) {
    const save = async () => {
      await writeFile(join(path, ".a.yaml.swp"), service("a", port));
      await rename(join(path, ".a.yaml.swp"), file);
    };
    const change = await heardAfter(source, save, upserts("a"));
    expect(change.upserted[0]!.value.spec).toEqual({ ports: [{ port }] });
  }
});

test("close() leaves no watcher behind, and may be called twice", async () => {
  const path = await folderWith({ "a.yaml": service("a") });
  await mkdir(join(path, "inner"));
  const watchers = () =>
    process.getActiveResourcesInfo().filter((name) => name === "FSEventWrap").length;
  // Those of the tests before end in their own time.
  await expect.poll(watchers).toBe(0);
  const source = await started(path);
  expect(watchers()).toBeGreaterThan(0);
  source.close();
  source.close();
  await expect.poll(watchers).toBe(0);
});
