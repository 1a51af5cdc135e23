import { expect, test } from "vitest";
import { type EncodedResource, RESOURCE_TYPES, type ResourceType } from "../../wire/resource.ts";
import { type PackedResources, packResources, unpackResources } from "./packed-resources.ts";
import { type RelayWorker, ResourceRelay } from "./resource-relay.ts";

const ADDRESS = RESOURCE_TYPES.address;

const resource = (name: string, text = name): EncodedResource => {
  return { type: ADDRESS, name, version: `v-${text}`, bytes: Buffer.from(text) };
};
const revision = (id: number) => ({ id, digest: String(id) });
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A worker that answers when the test says so. */
class FakeWorker implements RelayWorker {
  readonly heard: string[] = [];
  held = new Map<string, string>();
  dismissedWhy: string | undefined;
  /** What it answers to commits; undefined: it is gone. */
  refusal: string | undefined;
  isGone = false;
  isSlow = false;
  #staged = new Map<string, string | undefined>();
  #waiting: (() => void)[] = [];

  async stage(_: ResourceType, upserted: PackedResources, removed: readonly string[]) {
    await this.#turn();
    for (const name of removed) this.#staged.set(name, undefined);
    for (const { name, bytes } of unpackResources(ADDRESS, upserted)) {
      this.#staged.set(name, Buffer.from(bytes).toString());
    }
    this.heard.push(`stage ${[...upserted.names, ...removed.map((name) => `-${name}`)]}`);
    const problems = upserted.names.filter((name) => name.startsWith("bad"));
    return this.isGone ? undefined : problems.map((name) => `${name}: bad`);
  }

  async commit({ id }: { id: number }) {
    await this.#turn();
    this.heard.push(`commit ${id}`);
    if (this.isGone) return undefined;
    if (this.refusal !== undefined) return { refusal: this.refusal };
    for (const [name, text] of this.#staged) {
      if (text === undefined) this.held.delete(name);
      else this.held.set(name, text);
    }
    this.#staged.clear();
    return { refusal: undefined };
  }

  dismiss(why: string): void {
    this.dismissedWhy = why;
  }

  async proceed(): Promise<void> {
    for (const wake of this.#waiting.splice(0)) wake();
    await settled();
  }

  async #turn(): Promise<void> {
    if (this.isSlow) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

async function relayWith(...workers: FakeWorker[]) {
  const relay = new ResourceRelay([ADDRESS]);
  for (const worker of workers) await relay.join(worker);
  return relay;
}

test("packResources() is undone by unpackResources(), empty resources among them", () => {
  const all = [resource("a", "alpha"), resource("b", ""), resource("c", "ä")];
  const back = unpackResources(ADDRESS, structuredClone(packResources(all)));
  expect(back.map((one) => ({ ...one, bytes: Buffer.from(one.bytes) }))).toEqual(all);
});

test("a batch is staged by all workers before any of them commits", async () => {
  const [fast, slow] = [new FakeWorker(), new FakeWorker()];
  const relay = await relayWith(fast, slow);
  await relay.stage(ADDRESS, [resource("z")], []);
  await relay.commit(revision(1));
  slow.isSlow = true;
  const staged = relay.stage(ADDRESS, [resource("a")], ["z"]);
  const committed = relay.commit(revision(2));
  await settled();
  expect(fast.heard.slice(2)).toEqual(["stage -z", "stage a"]);
  await slow.proceed();
  expect(await staged).toEqual([]);
  expect(fast.heard.at(-1)).toBe("commit 2");
  let isOver = false;
  void committed.then(() => {
    isOver = true;
  });
  await settled();
  expect(isOver).toBe(false);
  await slow.proceed();
  expect(await committed).toBe(undefined);
  expect([fast.held, slow.held]).toEqual([new Map([["a", "a"]]), new Map([["a", "a"]])]);
});

test("what a worker cannot take is told once, whatever the number of workers", async () => {
  const relay = await relayWith(new FakeWorker(), new FakeWorker());
  const problems = await relay.stage(ADDRESS, [resource("a"), resource("bad-1")], []);
  expect(problems).toEqual(["bad-1: bad"]);
  await relay.commit(revision(1));
  expect([...relay.versions(ADDRESS).keys()]).toEqual(["a"]);
});

test("a commit that all refuse changes nothing, here or there", async () => {
  const workers = [new FakeWorker(), new FakeWorker()];
  const relay = await relayWith(...workers);
  await relay.stage(ADDRESS, [resource("a")], []);
  expect(await relay.commit(revision(1))).toBe(undefined);
  for (const worker of workers) worker.refusal = "no such service";
  await relay.stage(ADDRESS, [resource("b")], []);
  expect(await relay.commit(revision(2))).toBe("no such service");
  expect(relay.revision).toEqual(revision(1));
  expect(workers.map(({ dismissedWhy }) => dismissedWhy)).toEqual([undefined, undefined]);
  // The client starts anew, and says to the server that it has not got b.
  expect(relay.versions(ADDRESS)).toEqual(new Map([["a", "v-a"]]));
  for (const worker of workers) worker.refusal = undefined;
  await relay.stage(ADDRESS, [resource("c")], []);
  expect(await relay.commit(revision(3))).toBe(undefined);
  expect([...workers[1]!.held.keys()]).toEqual(["a", "c"]);
  expect(relay.versions(ADDRESS)).toEqual(
    new Map([
      ["a", "v-a"],
      ["c", "v-c"],
    ]),
  );
});

test("one worker that refuses what others took is dismissed", async () => {
  const [sound, odd] = [new FakeWorker(), new FakeWorker()];
  const relay = await relayWith(sound, odd);
  await relay.stage(ADDRESS, [resource("a")], []);
  odd.refusal = "broken";
  expect(await relay.commit(revision(1))).toBe(undefined);
  expect(odd.dismissedWhy).toBe("broken");
  expect(sound.dismissedWhy).toBe(undefined);
});

test("a worker that is gone holds up nobody", async () => {
  const [sound, gone] = [new FakeWorker(), new FakeWorker()];
  const relay = await relayWith(sound, gone);
  gone.isGone = true;
  expect(await relay.stage(ADDRESS, [resource("bad")], [])).toEqual(["bad: bad"]);
  expect(await relay.commit(revision(1))).toBe(undefined);
  sound.isGone = true;
  expect(await relay.commit(revision(2))).toBe(undefined);
  expect(relay.revision).toEqual(revision(2));
});

test("a new worker gets what is in force and what is staged, while the others go on", async () => {
  const first = new FakeWorker();
  const relay = await relayWith(first);
  await relay.stage(ADDRESS, [resource("a"), resource("gone")], []);
  await relay.commit(revision(1));
  await relay.stage(ADDRESS, [resource("b")], ["gone"]);
  const late = new FakeWorker();
  late.isSlow = true;
  const joined = relay.join(late);
  await settled();
  expect(await relay.commit(revision(2))).toBe(undefined);
  expect(late.held).toEqual(new Map());
  while (late.held.size < 2) await late.proceed();
  await joined;
  expect(late.held).toEqual(
    new Map([
      ["a", "a"],
      ["b", "b"],
    ]),
  );
  expect(late.heard).toEqual(["stage a,gone", "commit 1", "stage -gone", "stage b", "commit 2"]);
  // Now it counts: a commit waits for it.
  let isOver = false;
  void relay.commit(revision(3)).then(() => {
    isOver = true;
  });
  await settled();
  expect(isOver).toBe(false);
  await late.proceed();
  expect(isOver).toBe(true);
});

test("a new worker that refuses what is in force is dismissed", async () => {
  const first = new FakeWorker();
  const relay = await relayWith(first);
  await relay.stage(ADDRESS, [resource("a")], []);
  await relay.commit(revision(1));
  const odd = new FakeWorker();
  odd.refusal = "broken";
  await relay.join(odd);
  expect(odd.dismissedWhy).toBe("broken");
});

test("a large state comes in several messages, in order", async () => {
  const worker = new FakeWorker();
  const relay = await relayWith(worker);
  const large = Array.from({ length: 5 }, (_, i) => resource(`r${i}`, `${i}`.repeat(400_000)));
  await relay.stage(ADDRESS, large, []);
  await relay.commit(revision(1));
  expect(worker.heard).toEqual(["stage r0,r1", "stage r2,r3", "stage r4", "commit 1"]);
  expect([...worker.held.values()].map((text) => text[0])).toEqual(["0", "1", "2", "3", "4"]);
});

test("the bytes of a resource are the relay's own: the message they came in may go", async () => {
  const relay = await relayWith();
  const message = Buffer.from("....alpha....");
  const bytes = message.subarray(4, 9);
  await relay.stage(ADDRESS, [{ type: ADDRESS, name: "a", version: "1", bytes }], []);
  await relay.commit(revision(1));
  message.fill(0);
  const worker = new FakeWorker();
  await relay.join(worker);
  expect(worker.held.get("a")).toBe("alpha");
});
