import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { log } from "../kit/log.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceSink,
  type ResourceType,
  type RevisionStamp,
} from "../wire/resource.ts";
import { LastConfiguration } from "./last-configuration.ts";

const { address, settings } = RESOURCE_TYPES;
const logger = log("test");
logger.level = "silent";

/** Holds what it is given, but for names that it refuses. */
class FakeSink implements ResourceSink {
  readonly types = [settings, address];
  readonly held = new Map<string, string>();
  revision: RevisionStamp | undefined;
  refuses = "";
  problem: string | undefined;
  #staged: (() => void)[] = [];

  versions(type: ResourceType): ReadonlyMap<string, string> {
    const own = [...this.held].filter(([key]) => key.startsWith(`${type} `));
    return new Map(own.map(([key]) => [key.slice(type.length + 1), "v"]));
  }

  stage(type: ResourceType, upserted: readonly EncodedResource[], removed: readonly string[]) {
    this.#staged.push(() => {
      for (const { name, version, bytes } of upserted) {
        if (name !== this.refuses) this.held.set(`${type} ${name}`, `${version} ${bytes}`);
      }
      for (const name of removed) this.held.delete(`${type} ${name}`);
    });
    return upserted.some(({ name }) => name === this.refuses) ? [`${this.refuses}: odd`] : [];
  }

  commit(revision: RevisionStamp): string | undefined {
    if (this.problem !== undefined) return this.problem;
    for (const apply of this.#staged.splice(0)) apply();
    this.revision = revision;
    return undefined;
  }
}

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "last-configuration-"));
  path = join(directory, "configuration");
});

afterEach(() => rm(directory, { recursive: true }));

function make(sink: ResourceSink, intervalMs = 60_000): LastConfiguration {
  return new LastConfiguration({ path, sink, log: logger, intervalMs });
}

function resource(type: ResourceType, name: string, text: string): EncodedResource {
  return { type, name, version: `v-${text}`, bytes: Buffer.from(text) };
}

test("what was committed is there after a restart, byte for byte", async () => {
  const last = make(new FakeSink());
  await last.stage(settings, [resource(settings, "mesh", "trust\ndomain")], []);
  await last.stage(address, [resource(address, "ns/a", ""), resource(address, "b", "\0ü")], []);
  await last.commit({ id: 7, digest: "d7" });
  await last.stage(address, [resource(address, "c", "new")], ["ns/a"]);
  await last.commit({ id: 8, digest: "d8" });
  await last.close();
  const sink = new FakeSink();
  expect(await make(sink).load()).toBe(true);
  expect(sink.revision).toEqual({ id: 8, digest: "d8" });
  expect(Object.fromEntries(sink.held)).toEqual({
    [`${settings} mesh`]: "v-trust\ndomain trust\ndomain",
    [`${address} b`]: "v-\0ü \0ü",
    [`${address} c`]: "v-new new",
  });
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(directory)).toEqual(["configuration"]);
});

test("what is loaded is kept when less is sent later", async () => {
  const first = make(new FakeSink());
  await first.stage(address, [resource(address, "a", "1"), resource(address, "b", "2")], []);
  await first.commit({ id: 1, digest: "" });
  await first.close();
  const second = make(new FakeSink());
  await second.load();
  expect([...second.versions(address).keys()]).toEqual(["a", "b"]);
  await second.stage(address, [resource(address, "a", "changed")], []);
  await second.commit({ id: 2, digest: "" });
  await second.close();
  const sink = new FakeSink();
  await make(sink).load();
  expect([...sink.held.values()].sort()).toEqual(["v-2 2", "v-changed changed"]);
});

test("what was refused or not committed is not kept", async () => {
  const inner = new FakeSink();
  inner.refuses = "ns/odd";
  const last = make(inner);
  const both = [resource(address, "ns/odd", "x"), resource(address, "ns/even", "y")];
  expect(await last.stage(address, both, [])).toEqual(["ns/odd: odd"]);
  await last.commit({ id: 1, digest: "" });
  inner.problem = "no";
  await last.stage(address, [resource(address, "later", "z")], []);
  expect(await last.commit({ id: 2, digest: "" })).toBe("no");
  await last.close();
  const sink = new FakeSink();
  await make(sink).load();
  expect([...sink.held.keys()]).toEqual([`${address} ns/even`]);
  expect(sink.revision?.id).toBe(1);
});

test("it is written behind the interval, once for many changes", async () => {
  const last = make(new FakeSink(), 50);
  for (let id = 1; id <= 20; id++) {
    await last.stage(address, [resource(address, "a", String(id))], []);
    await last.commit({ id, digest: "" });
  }
  expect(await readdir(directory)).toEqual([]);
  await expect.poll(() => readFile(path, "utf8").catch(() => "")).toContain('"id":20');
  await last.close();
});

test("a file that is torn, foreign or missing is not used", async () => {
  const last = make(new FakeSink());
  await last.stage(address, [resource(address, "a", "0123456789")], []);
  await last.commit({ id: 1, digest: "" });
  await last.close();
  const whole = await readFile(path);
  const torn = [0, 10, 30, whole.length - 1].map((length) => whole.subarray(0, length));
  for (const bytes of [...torn, Buffer.from("nonsense\n"), Buffer.concat([whole, whole])]) {
    await writeFile(path, bytes);
    const sink = new FakeSink();
    expect(await make(sink).load()).toBe(false);
    expect(sink.revision).toBeUndefined();
  }
  await rm(path);
  expect(await make(new FakeSink()).load()).toBe(false);
});

test("a place that cannot be written costs the file and nothing else", async () => {
  path = join(directory, "missing", "configuration");
  const last = make(new FakeSink());
  await last.stage(address, [resource(address, "a", "1")], []);
  expect(await last.commit({ id: 1, digest: "" })).toBeUndefined();
  await last.close();
});
