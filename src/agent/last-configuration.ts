/**
 * The last good configuration on disk: a proxy that is started while its control plane is away
 * begins with it, and asks for what is different once the control plane is back.
 *
 * Stands between the client of the control plane and the proxy's state, and looks into no resource.
 * The file is written whole, beside the data path and not more often than `intervalMs`; one that is
 * torn or of another form is not used, and is no error.
 *
 *     waystone-configuration 1 <sha-256 of the rest>
 *     {"revision": …, "resources": [[type, name, version, length], …]}
 *     bytes of all resources
 */
import { createHash, randomBytes } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import type { Logger } from "../kit/log.ts";
import type {
  EncodedResource,
  ResourceSink,
  ResourceType,
  RevisionStamp,
} from "../wire/resource.ts";

export interface LastConfigurationOptions {
  readonly path: string;
  readonly sink: ResourceSink;
  readonly log: Logger;
  readonly intervalMs?: number;
}

const INTERVAL_MS = 10_000;
const FORM = "waystone-configuration 1";

interface Header {
  readonly revision: RevisionStamp;
  readonly resources: readonly (readonly [ResourceType, string, string, number])[];
}

interface Saved {
  readonly revision: RevisionStamp;
  readonly resources: readonly EncodedResource[];
}

export class LastConfiguration implements ResourceSink {
  readonly types: readonly ResourceType[];
  readonly #options: LastConfigurationOptions;
  /** By type and name. */
  readonly #held = new Map<string, EncodedResource>();
  #staged: (() => void)[] = [];
  #revision: RevisionStamp | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: LastConfigurationOptions) {
    this.#options = options;
    this.types = options.sink.types;
  }

  /** Hands what the file holds to the sink. False: there is none that can be used. */
  async load(): Promise<boolean> {
    const { path, sink, log } = this.#options;
    const saved = await readSaved(path);
    if (saved === undefined) return false;
    for (const type of sink.types) {
      const resources = saved.resources.filter((resource) => resource.type === type);
      if (resources.length === 0) continue;
      const refused = await this.stage(type, resources, []);
      if (refused.length > 0) log.warn({ refused }, "parts of the last configuration");
    }
    const problem = await this.commit(saved.revision);
    if (problem !== undefined) log.warn({ problem }, "the last configuration is not used");
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return problem === undefined;
  }

  versions(type: ResourceType): ReadonlyMap<string, string> {
    return this.#options.sink.versions(type);
  }

  async stage(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): Promise<readonly string[]> {
    const refused = await this.#options.sink.stage(type, upserted, removed);
    const isRefused = (name: string) => refused.some((text) => text.startsWith(`${name}: `));
    this.#staged.push(() => {
      for (const resource of upserted) {
        if (!isRefused(resource.name)) this.#held.set(keyOf(type, resource.name), resource);
      }
      for (const name of removed) this.#held.delete(keyOf(type, name));
    });
    return refused;
  }

  async commit(revision: RevisionStamp): Promise<string | undefined> {
    const problem = await this.#options.sink.commit(revision);
    if (problem !== undefined) return problem;
    for (const apply of this.#staged.splice(0)) apply();
    this.#revision = revision;
    this.#timer ??= setTimeout(
      () => void this.#write(),
      this.#options.intervalMs ?? INTERVAL_MS,
    ).unref();
    return undefined;
  }

  /** Writes what has not been written. */
  async close(): Promise<void> {
    if (this.#timer !== undefined) await this.#write();
    await this.#writing;
  }

  #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(async () => {
      const { path, log } = this.#options;
      try {
        await writeSaved(path, { revision: this.#revision!, resources: [...this.#held.values()] });
      } catch (caught) {
        const reason = (caught as Error).message;
        log.warn({ path, reason }, "the last configuration is not kept");
      }
    });
    return this.#writing;
  }
}

function keyOf(type: ResourceType, name: string): string {
  return `${type} ${name}`;
}

async function writeSaved(path: string, { revision, resources }: Saved): Promise<void> {
  const header: Header = {
    revision,
    resources: resources.map(({ type, name, version, bytes }) => [
      type,
      name,
      version,
      bytes.length,
    ]),
  };
  const rest = Buffer.concat([
    Buffer.from(`${JSON.stringify(header)}\n`),
    ...resources.map(({ bytes }) => bytes),
  ]);
  const temporary = `${path}.${randomBytes(6).toString("hex")}`;
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.write(`${FORM} ${digestOf(rest)}\n`);
    await file.writeFile(rest);
    await file.sync();
  } catch (caught) {
    await rm(temporary, { force: true });
    throw caught;
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

async function readSaved(path: string): Promise<Saved | undefined> {
  let all: Buffer;
  try {
    all = await readFile(path);
  } catch {
    return undefined;
  }
  const first = all.indexOf("\n");
  const rest = all.subarray(first + 1);
  if (all.toString("utf8", 0, first) !== `${FORM} ${digestOf(rest)}`) return undefined;
  const end = rest.indexOf("\n");
  const header = JSON.parse(rest.toString("utf8", 0, end)) as Header;
  let at = end + 1;
  const resources = header.resources.map(([type, name, version, length]): EncodedResource => {
    const bytes = rest.subarray(at, at + length);
    at += length;
    return { type, name, version, bytes };
  });
  return { revision: header.revision, resources };
}

function digestOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
