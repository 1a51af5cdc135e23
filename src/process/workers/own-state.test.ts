/** The parent's own state beside workers: the revisions that they have. */
import { expect, test } from "vitest";
import { setLogLevel } from "../../kit/log.ts";
import { DEFAULT_SETTINGS } from "../../model/settings.ts";
import { ResourceDigest } from "../../wire/digest.ts";
import { encodeSettings, SETTINGS_NAME } from "../../wire/mesh.ts";
import { RESOURCE_TYPES } from "../../wire/resource.ts";
import { OwnState } from "./own-state.ts";
import { type RelayWorker, ResourceRelay } from "./resource-relay.ts";

setLogLevel("silent");

const { settings: type } = RESOURCE_TYPES;

/** Of a mesh of that trust domain: the resource and the revision it makes. */
function meshOf(trustDomain: string, id: number) {
  const bytes = encodeSettings({ ...DEFAULT_SETTINGS, trustDomain });
  const resource = { type, name: SETTINGS_NAME, version: trustDomain, bytes };
  const digest = new ResourceDigest();
  digest.add(type, SETTINGS_NAME, trustDomain);
  return { resource, stamp: { id, digest: digest.toString() } };
}

class Worker implements RelayWorker {
  readonly committed: number[] = [];
  async stage() {
    return [];
  }
  async commit({ id }: { id: number }) {
    this.committed.push(id);
    return { refusal: undefined };
  }
  dismiss(): void {}
}

test("it has what the workers have, from the first revision on", async () => {
  const relay = new ResourceRelay([type]);
  const own = OwnState.join(relay);
  const worker = new Worker();
  void relay.join(worker);
  expect(own.current.revision).toBe(0);
  const first = meshOf("first.example", 1);
  await relay.stage(type, [first.resource], []);
  expect(own.current.revision).toBe(0);
  expect(await relay.commit(first.stamp)).toBeUndefined();
  expect(own.current).toMatchObject({ revision: 1, settings: { trustDomain: "first.example" } });
  expect(worker.committed).toEqual([1]);
});

test("without any worker it goes on, and what is refused is not in force", async () => {
  const relay = new ResourceRelay([type]);
  const own = OwnState.join(relay);
  const first = meshOf("first.example", 1);
  await relay.stage(type, [first.resource], []);
  await relay.commit(first.stamp);
  const second = meshOf("second.example", 2);
  await relay.stage(type, [second.resource], []);
  expect(await relay.commit({ id: 2, digest: "another" })).toMatch(/does not amount/);
  expect(own.current).toMatchObject({ revision: 1, settings: { trustDomain: "first.example" } });
  await relay.stage(type, [second.resource], []);
  expect(await relay.commit({ ...second.stamp, id: 3 })).toBeUndefined();
  expect(own.current).toMatchObject({ revision: 3, settings: { trustDomain: "second.example" } });
});

test("where it differs from the workers it starts anew, and serves what it had meanwhile", async () => {
  const relay = new ResourceRelay([type]);
  const own = OwnState.join(relay);
  void relay.join(new Worker());
  const first = meshOf("first.example", 1);
  await relay.stage(type, [first.resource], []);
  await relay.commit(first.stamp);
  // The worker takes anything.
  expect(await relay.commit({ id: 2, digest: "another" })).toBeUndefined();
  expect(own.current.revision).toBe(1);
  const second = meshOf("second.example", 3);
  await relay.stage(type, [second.resource], []);
  await relay.commit(second.stamp);
  expect(own.current.revision).toBe(1);
  await expect.poll(() => own.current.revision, { timeout: 3_000 }).toBe(3);
  expect(own.current.settings.trustDomain).toBe("second.example");
});
