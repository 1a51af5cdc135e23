/**
 * Configuration from files and folders, watched (D11).
 *
 * A change is applied whole or not at all: while any file of it does not parse, breaks its schema,
 * or describes an object that another file describes too, the objects that were in force stay, and
 * the diagnostics say why. The first load is no exception: it then fails.
 */
import { type FSWatcher, watch } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { KINDS } from "../../api/kinds.ts";
import type { ObjectChange, ObjectKey, ParsedObject } from "../../api/object.ts";
import { type ReadObjects, readObjects } from "../../api/read-objects.ts";
import { FILE_BYTES_MAX } from "../../api/yaml.ts";
import { type Diagnostic, diagnostic } from "../../kit/diagnostic.ts";
import { Failure } from "../../kit/failure.ts";
import { log } from "../../kit/log.ts";

const EXTENSIONS = new Set([".yaml", ".yml", ".json"]);
/** Editors write a file in several steps; this is long enough for them and short for people. */
const SETTLE_MS = 15;
const TOTAL_BYTES_MAX = 64 * 1024 * 1024;

interface ReadFile extends ReadObjects {
  readonly text: string;
}

export interface LoadResult {
  readonly change: ObjectChange;
}

export class FileSource {
  readonly #paths: readonly string[];
  readonly #listeners = new Set<(change: ObjectChange) => void>();
  readonly #watchers = new Map<string, FSWatcher>();
  #files = new Map<string, ReadFile>();
  /** What is in force, by key. */
  #objects = new Map<string, ParsedObject>();
  #diagnostics: readonly Diagnostic[] = [];
  #timer: NodeJS.Timeout | undefined;
  #loading: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** What is wrong with the files as they are now. */
  get diagnostics(): readonly Diagnostic[] {
    return this.#diagnostics;
  }

  /** Reads everything, and watches from then on. CONFIGURATION_INVALID when it is refused. */
  async start(): Promise<LoadResult> {
    const change = await this.#load();
    if (change === undefined) {
      const count = this.#diagnostics.filter((d) => d.level === "error").length;
      const what = count === 1 ? "an error" : `${count} errors`;
      throw new Failure("CONFIGURATION_INVALID", `the configuration has ${what}`);
    }
    await this.#watchFolders();
    return { change };
  }

  subscribe(listener: (change: ObjectChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** The change that the files make; `undefined` when it is refused. */
  async #load(): Promise<ObjectChange | undefined> {
    const files = await this.#readFiles();
    const diagnostics: Diagnostic[] = [];
    const objects = new Map<string, ParsedObject>();
    for (const file of files.values()) {
      diagnostics.push(...file.diagnostics);
      for (const object of file.objects) {
        const key = keyText(keyOf(object));
        const other = objects.get(key);
        if (other === undefined) objects.set(key, object);
        else diagnostics.push(duplicate(object, other));
      }
    }
    this.#files = files;
    this.#diagnostics = [...diagnostics, ...notActedOn(objects)];
    if (diagnostics.some((d) => d.level === "error")) return undefined;
    return this.#swap(objects);
  }

  /** Puts the new objects in force; those that say the same as before keep their values. */
  #swap(objects: Map<string, ParsedObject>): ObjectChange {
    const upserted: ParsedObject[] = [];
    const removed: ObjectKey[] = [];
    for (const [key, object] of objects) {
      const before = this.#objects.get(key);
      if (before === undefined) {
        upserted.push(object);
        continue;
      }
      const isEqual =
        before.value === object.value || isDeepStrictEqual(before.value, object.value);
      const kept = isEqual ? withValueOf(object, before) : object;
      objects.set(key, kept);
      if (!isEqual || !isDeepStrictEqual(before.position, object.position)) upserted.push(kept);
    }
    for (const [key, before] of this.#objects) if (!objects.has(key)) removed.push(keyOf(before));
    this.#objects = objects;
    return { upserted, removed };
  }

  async #readFiles(): Promise<Map<string, ReadFile>> {
    const files = new Map<string, ReadFile>();
    let totalBytes = 0;
    for (const path of await this.#listFiles()) {
      const text = await readText(path);
      if (text === undefined) continue;
      totalBytes += text.length;
      if (totalBytes > TOTAL_BYTES_MAX) {
        const message = `the configuration is larger than ${TOTAL_BYTES_MAX / 1024 / 1024} MiB`;
        const problem = diagnostic("WS0006", message, { file: path });
        return files.set(path, { text, objects: [], diagnostics: [problem] });
      }
      const before = this.#files.get(path);
      files.set(
        path,
        before?.text === text ? before : { text, ...(await readObjects(text, path)) },
      );
    }
    return files;
  }

  /** Every file, in the order of the paths given, sorted within folders. */
  async #listFiles(): Promise<string[]> {
    const found: string[] = [];
    for (const path of this.#paths) {
      const isFolder = await isDirectory(path);
      if (isFolder === undefined) {
        throw new Failure("CONFIGURATION_INVALID", `${path}: no such file or folder`);
      }
      if (isFolder) found.push(...(await listFolder(path)).files);
      else found.push(path);
    }
    return [...new Set(found)];
  }

  async #watchFolders(): Promise<void> {
    const folders = new Set<string>();
    for (const path of this.#paths) {
      if (!(await isDirectory(path))) folders.add(dirname(path));
      else for (const folder of (await listFolder(path)).folders) folders.add(folder);
    }
    if (this.#isClosed) return;
    for (const [folder, watcher] of this.#watchers) {
      if (folders.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of folders) this.#watchFolder(folder);
  }

  #watchFolder(folder: string): void {
    if (this.#watchers.has(folder)) return;
    try {
      const watcher = watch(folder, () => this.#settle());
      watcher.on("error", () => this.#settle());
      this.#watchers.set(folder, watcher);
    } catch (caught) {
      log("files").warn({ folder, caught }, "the folder cannot be watched");
    }
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#loading = this.#loading.then(() => this.#reload());
    }, SETTLE_MS);
  }

  async #reload(): Promise<void> {
    if (this.#isClosed) return;
    const before = this.#diagnostics;
    try {
      const change = await this.#load();
      await this.#watchFolders();
      const isEmpty = change && change.upserted.length === 0 && change.removed.length === 0;
      if (this.#isClosed || (isEmpty && isDeepStrictEqual(before, this.#diagnostics))) return;
      // A refused edit changes nothing; listeners look at the diagnostics.
      for (const listener of this.#listeners) listener(change ?? NO_CHANGE);
    } catch (caught) {
      log("files").error({ caught }, "the files could not be read");
    }
  }
}

const NO_CHANGE: ObjectChange = { upserted: [], removed: [] };

function withValueOf(object: ParsedObject, before: ParsedObject): ParsedObject {
  return {
    kind: object.kind,
    value: before.value,
    position: object.position,
    positionOf: (path) => object.positionOf(path),
  };
}

function keyOf(object: ParsedObject): ObjectKey {
  const { name, namespace } = object.value.metadata;
  const isNamespaced = KINDS[object.kind].isNamespaced;
  return { kind: object.kind, namespace: isNamespaced ? (namespace ?? "default") : "", name };
}

function keyText({ kind, namespace, name }: ObjectKey): string {
  return `${kind}/${namespace}/${name}`;
}

function labelOf(object: ParsedObject): string {
  const { kind, namespace, name } = keyOf(object);
  return `${kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
}

function duplicate(object: ParsedObject, other: ParsedObject): Diagnostic {
  const { file, line } = other.position;
  const message = `the same object stands in ${file}:${line} already; remove one of the two`;
  return diagnostic("WS0004", message, { object: labelOf(object), ...object.position });
}

/** Kinds of a mesh that this version does not act on: said once an object. */
function notActedOn(objects: ReadonlyMap<string, ParsedObject>): Diagnostic[] {
  const ignored = [...objects.values()].filter((object) => KINDS[object.kind].use === "later");
  return ignored.map((object) =>
    diagnostic("WS0105", `${object.kind} is valid, but this version does not act on it`, {
      object: labelOf(object),
      ...object.position,
    }),
  );
}

/** `undefined`: gone since it was listed. */
async function readText(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    // The parser says that it is too large; there is no need to hold more of it.
    if (size > FILE_BYTES_MAX) return " ".repeat(FILE_BYTES_MAX + 1);
    return await readFile(path, "utf8");
  } catch (caught) {
    if ((caught as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw Failure.from(caught, "CONFIGURATION_INVALID");
  }
}

async function isDirectory(path: string): Promise<boolean | undefined> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return undefined;
  }
}

async function listFolder(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const files: string[] = [];
  const folders = [folder];
  const entries = await readdir(folder, { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      const inner = await listFolder(path);
      files.push(...inner.files);
      folders.push(...inner.folders);
    } else if (EXTENSIONS.has(extname(entry.name))) files.push(path);
  }
  return { files, folders };
}
