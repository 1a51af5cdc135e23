/**
 * Tells when something in a set of folders may have changed: once for a burst of events.
 *
 * The folder in which a given path stands is watched too, for editors save by renaming and folders
 * are made anew; there only the path's own name counts. What changed is for the reader to find out.
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { extname } from "node:path";
import { log } from "../../kit/log.ts";

export const EXTENSIONS: ReadonlySet<string> = new Set([".yaml", ".yml", ".json"]);

/** Editors write a file in several steps; this is long enough for them and short for people. */
const SETTLE_MS = 15;
/** A folder that never rests is read all the same. */
const SETTLE_MS_MAX = 60;

/** What counts in a folder: `all` its configuration files and folders, or some names alone. */
export interface Interest {
  all: boolean;
  readonly names: Set<string>;
}

interface Watched {
  readonly watcher: FSWatcher;
  /** A folder that was removed and made again has another; its watcher hears nothing any more. */
  readonly inode: bigint;
  interest: Interest;
}

export class FolderWatch {
  readonly #onChange: () => void;
  readonly #folders = new Map<string, Watched>();
  #timer: NodeJS.Timeout | undefined;
  #burstStartMs = 0;
  #isClosed = false;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /**
   * Watches these folders, by absolute path, and no others. True when some were not watched before:
   * what happened in them since they were listed has been missed.
   */
  set(interests: ReadonlyMap<string, Interest>): boolean {
    if (this.#isClosed) return false;
    for (const folder of this.#folders.keys()) if (!interests.has(folder)) this.#forget(folder);
    let isNew = false;
    for (const [folder, interest] of interests) isNew = this.#watch(folder, interest) || isNew;
    return isNew;
  }

  /** Tells of a change after a while, as if there had been one. */
  remind(delayMs: number): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fire(), delayMs);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const folder of [...this.#folders.keys()]) this.#forget(folder);
  }

  #watch(folder: string, interest: Interest): boolean {
    const inode = inodeOf(folder);
    const known = this.#folders.get(folder);
    if (known !== undefined && known.inode === inode) {
      known.interest = interest;
      return false;
    }
    this.#forget(folder);
    if (inode === undefined) return false;
    try {
      const watcher = watch(folder, (event, name) => this.#onEvent(folder, event, name));
      watcher.on("error", () => this.#settle());
      this.#folders.set(folder, { watcher, inode, interest });
      return true;
    } catch (caught) {
      log("files").warn({ folder, caught }, "the folder cannot be watched");
      return false;
    }
  }

  #forget(folder: string): void {
    this.#folders.get(folder)?.watcher.close();
    this.#folders.delete(folder);
  }

  #onEvent(folder: string, event: string, name: string | null): void {
    const interest = this.#folders.get(folder)?.interest;
    if (interest !== undefined && counts(interest, event, name)) this.#settle();
  }

  #settle(): void {
    const nowMs = performance.now();
    if (this.#burstStartMs === 0) this.#burstStartMs = nowMs;
    const left = this.#burstStartMs + SETTLE_MS_MAX - nowMs;
    this.remind(Math.max(0, Math.min(SETTLE_MS, left)));
  }

  #fire(): void {
    this.#burstStartMs = 0;
    this.#onChange();
  }
}

function counts(interest: Interest, event: string, name: string | null): boolean {
  if (name === null || interest.names.has(name)) return true;
  if (!interest.all) return false;
  // Kubernetes updates mounted ConfigMaps by renaming this link; other hidden files are editors'.
  if (name.startsWith(".")) return name === "..data";
  // What comes or goes without an extension may be a folder.
  return EXTENSIONS.has(extname(name)) || event === "rename";
}

function inodeOf(folder: string): bigint | undefined {
  try {
    return statSync(folder, { bigint: true }).ino;
  } catch {
    return undefined;
  }
}
