/**
 * Reads the configuration files: all of the given paths, each only when it has changed.
 *
 * Bounded in files and bytes. A file that had objects and is suddenly empty or gone is most likely
 * being saved; for a moment nothing is read at all, since a policy that vanishes lets traffic pass.
 */
import type { Dirent } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { type ReadObjects, readObjects } from "../../api/read-objects.ts";
import { FILE_BYTES_MAX } from "../../api/yaml.ts";
import { type Diagnostic, diagnostic } from "../../kit/diagnostic.ts";
import { EXTENSIONS, type Interest } from "./folder-watch.ts";

const FILES_MAX = 10_000;
const TOTAL_BYTES_MAX = 64 * 1024 * 1024;
const STATS_AT_ONCE = 64;
/** How long a file may be empty or gone before it is believed. */
const GRACE_MS = 50;

interface KnownFile extends ReadObjects {
  /** Changes with every write. */
  readonly version: string;
  readonly bytes: number;
}

export interface ReadFiles {
  /** In the order of the paths given, sorted within folders. */
  readonly files: readonly ReadObjects[];
  /** What keeps the files as a whole from being used. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Which files there are. */
export interface Listing {
  /** Absolute path → path as it is to be shown. */
  readonly files: Map<string, string>;
  readonly diagnostics: Diagnostic[];
  /** Folders to watch, by absolute path. */
  readonly interests: Map<string, Interest>;
}

export class FileReader {
  readonly #paths: readonly string[];
  #files = new Map<string, KnownFile>();
  /** Files that were there with objects, and since when they are empty or gone. */
  readonly #vanished = new Map<string, number>();

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** Everything as it is now; a number: ask again after so many milliseconds. */
  async read(listing: Listing): Promise<ReadFiles | number> {
    const paths = [...listing.files.values()];
    const diagnostics = [...listing.diagnostics];
    const versions = await this.#versions(paths);
    const files = new Map<string, KnownFile>();
    let bytes = 0;
    for (const [index, path] of paths.entries()) {
      const known = this.#files.get(path);
      const isKnown = known !== undefined && known.version === versions[index];
      const file = isKnown ? known : await this.#readFile(path);
      if (file === undefined) continue;
      files.set(path, file);
      bytes += file.bytes;
      if (bytes > TOTAL_BYTES_MAX) {
        const message = `the configuration is larger than ${TOTAL_BYTES_MAX / 1024 / 1024} MiB`;
        diagnostics.push(diagnostic("WS0006", message, { file: path }));
        break;
      }
    }
    const waitMs = this.#graceLeft(files);
    if (waitMs > 0) return waitMs;
    this.#files = files;
    return { files: [...files.values()], diagnostics };
  }

  /** The longest time that a vanished file is still waited for. */
  #graceLeft(files: ReadonlyMap<string, KnownFile>): number {
    const nowMs = performance.now();
    let waitMs = 0;
    for (const [path, before] of this.#files) {
      const file = files.get(path);
      if (before.objects.length === 0 || (file !== undefined && file.bytes > 0)) {
        this.#vanished.delete(path);
        continue;
      }
      const sinceMs = this.#vanished.get(path) ?? nowMs;
      this.#vanished.set(path, sinceMs);
      waitMs = Math.max(waitMs, sinceMs + GRACE_MS - nowMs);
    }
    if (waitMs <= 0) this.#vanished.clear();
    return waitMs;
  }

  /** Many at a time: in a large folder nearly all of them are as they were. */
  async #versions(paths: readonly string[]): Promise<(string | undefined)[]> {
    const versions: (string | undefined)[] = [];
    for (let at = 0; at < paths.length; at += STATS_AT_ONCE) {
      const some = paths.slice(at, at + STATS_AT_ONCE);
      versions.push(
        ...(await Promise.all(some.map((path) => versionOf(path).catch(() => undefined)))),
      );
    }
    return versions;
  }

  /** `undefined`: gone since it was listed. */
  async #readFile(path: string): Promise<KnownFile | undefined> {
    try {
      // Taken before the text: a write in between makes another version, which is read again.
      const version = await versionOf(path);
      const bytes = (await stat(path)).size;
      if (bytes > FILE_BYTES_MAX) {
        const message = `the file is larger than ${FILE_BYTES_MAX / 1024 / 1024} MiB`;
        return { version, bytes, ...refused(diagnostic("WS0006", message, { file: path })) };
      }
      const text = await readFile(path, "utf8");
      return { version, bytes, ...(await readObjects(text, path)) };
    } catch (caught) {
      if ((caught as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      return { version: "", bytes: 0, ...refused(unreadable(path, caught)) };
    }
  }

  async list(): Promise<Listing> {
    const listing: Listing = { files: new Map(), diagnostics: [], interests: new Map() };
    for (const path of this.#paths) {
      const absolute = resolve(path);
      interestIn(listing, dirname(absolute)).names.add(basename(absolute));
      try {
        if ((await stat(path)).isDirectory()) await listFolder(path, listing);
        else listing.files.set(absolute, path);
      } catch (caught) {
        listing.diagnostics.push(unreadable(path, caught));
      }
    }
    if (listing.files.size > FILES_MAX) {
      const message = `the configuration has more than ${FILES_MAX} files`;
      listing.diagnostics.push(diagnostic("WS0006", message));
      listing.files.clear();
    }
    return listing;
  }
}

async function versionOf(path: string): Promise<string> {
  const { ino, size, ctimeNs, mtimeNs } = await stat(path, { bigint: true });
  return `${ino} ${size} ${ctimeNs} ${mtimeNs}`;
}

async function listFolder(folder: string, listing: Listing): Promise<void> {
  interestIn(listing, resolve(folder)).all = true;
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (caught) {
    // Removed since it was seen: what stood in it is gone.
    if ((caught as NodeJS.ErrnoException).code === "ENOENT") return;
    listing.diagnostics.push(unreadable(folder, caught));
    return;
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".") || listing.files.size > FILES_MAX) continue;
    const path = join(folder, entry.name);
    // Links to files are followed, links to folders are not: they may lead in circles.
    if (entry.isDirectory()) await listFolder(path, listing);
    else if (EXTENSIONS.has(extname(entry.name))) listing.files.set(resolve(path), path);
  }
}

function interestIn({ interests }: Listing, folder: string): Interest {
  let interest = interests.get(folder);
  if (interest === undefined) {
    interest = { all: false, names: new Set() };
    interests.set(folder, interest);
  }
  return interest;
}

function refused(problem: Diagnostic): ReadObjects {
  return { objects: [], diagnostics: [problem] };
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  EACCES: "permission denied",
  EISDIR: "it is a folder",
};

function unreadable(path: string, caught: unknown): Diagnostic {
  const { code = "", message } = caught as NodeJS.ErrnoException;
  return diagnostic("WS0007", `cannot be read: ${REASONS[code] ?? message}`, { file: path });
}
