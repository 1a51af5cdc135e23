/**
 * Seeded schedules of faults of the API server, while objects change at random: in the end the mesh
 * is the one that a fresh start makes of what is there, and on the way nothing was lost that nobody
 * had deleted. `WAYSTONE_SEED=7` repeats one schedule, `WAYSTONE_SCHEDULES` draws more.
 */
import { afterEach, expect, test } from "vitest";
import type { KindName } from "../../src/api/kinds.ts";
import type { KubeObject } from "../../src/api/object.ts";
import { ControlPlane } from "../../src/control/control-plane.ts";
import { WATCHED_KINDS } from "../../src/control/source/kubernetes/watched-kinds.ts";
import { Random } from "../fuzz/random.ts";
import { generateMesh } from "../support/generated-mesh.mjs";
import { type ClusterRig, clusterRig, HASTE } from "../support/kubernetes-source.ts";
import { contents } from "../support/over-the-wire.ts";
import type { WatchedSource } from "../support/watched-source.ts";

const STEPS = 80;
const SCHEDULES = Number(process.env.WAYSTONE_SCHEDULES ?? 50);
const SEEDS = process.env.WAYSTONE_SEED
  ? [Number(process.env.WAYSTONE_SEED)]
  : Array.from({ length: SCHEDULES }, (_, seed) => seed);

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const SERVICES = 6;
const mesh = generateMesh({ services: SERVICES, podsPerService: () => 2 });
const OBJECTS = mesh.objects.map(({ value }) => value);

class Schedule {
  readonly #random: Random;
  readonly #rig: ClusterRig;
  readonly #hidden = new Set<KindName>();
  readonly #forbidden = new Set<KindName>();
  readonly #broken = new Map<string, KubeObject>();
  readonly deleted = new Set<string>();
  readonly steps: string[] = [];
  #isAway = false;

  constructor(seed: number, rig: ClusterRig) {
    this.#random = new Random(seed * 7919 + 1);
    this.#rig = rig;
  }

  async step(): Promise<void> {
    const random = this.#random;
    if (random.below(3) > 0) this.#change();
    else await this.#fault();
    if (random.below(4) === 0) await pause(random.below(12));
  }

  /** One object comes, goes, or says something else. */
  #change(): void {
    const { api } = this.#rig;
    const object = this.#random.pick(OBJECTS);
    const { kind, metadata } = object;
    const key = `${kind}/${metadata.namespace ?? ""}/${metadata.name}`;
    const there = api.objects.some(
      (o) => o.kind === kind && o.metadata.name === metadata.name && sameNamespace(o, object),
    );
    const what = this.#random.below(4);
    this.steps.push(`${["delete", "break", "label", "put"][what]} ${key}`);
    if (what === 0 && there) {
      api.delete(kind as KindName, metadata.namespace, metadata.name);
      this.deleted.add(key);
      this.#broken.delete(key);
    } else if (what === 1 && kind === "AuthorizationPolicy") {
      api.put({ ...object, spec: { ...(object.spec as object), ruels: [] } });
      this.#broken.set(key, object);
    } else {
      const labels = { ...metadata.labels, round: String(this.#random.below(1000)) };
      api.put(what === 2 ? { ...object, metadata: { ...metadata, labels } } : object);
      this.#broken.delete(key);
    }
  }

  async #fault(): Promise<void> {
    const { api } = this.#rig;
    const random = this.#random;
    const kind = random.pick(WATCHED_KINDS);
    const faults: Record<string, () => unknown> = {
      drop: () => api.dropWatches(),
      "drop one": () => api.dropWatches(kind),
      end: () => api.endWatches(),
      compact: () => api.compact(),
      expire: () => api.expireWatches(),
      bookmark: () => api.bookmark(),
      refuse: () => api.refuse(1 + random.below(30), random.pick([429, 500, 503, 504])),
      "cut lists": () => api.cutLists(1 + random.below(5)),
      "cut events": () => api.cutEvents(1 + random.below(3)),
      disturb: () => this.#disturb(),
      delay: () => {
        api.delayMs = random.below(10);
      },
      restart: () => this.#restart(),
      forbid: () => {
        api.forbid(kind, ...random.pick([[], ["watch" as const]]));
        this.#forbidden.add(kind);
      },
      hide: () => {
        api.hide(kind);
        this.#hidden.add(kind);
      },
      mend: () => this.#mend(),
      gone: () => {
        api.goneAs = random.pick(["status", "event"]);
      },
    };
    const name = random.pick(Object.keys(faults));
    this.steps.push(`${name} ${kind}`);
    await faults[name]!();
  }

  #disturb(): void {
    const random = new Random(this.#random.next());
    this.#rig.api.disturb = (events, sent) => {
      const twice = sent.filter(() => random.below(3) === 0).slice(-5);
      const inOrder = random.below(2) === 0 ? events : events.toReversed();
      return random.below(2) === 0 ? [...twice, ...inOrder] : [...inOrder, ...twice];
    };
  }

  async #restart(): Promise<void> {
    const { api } = this.#rig;
    if (this.#isAway) return;
    this.#isAway = true;
    await api.stop();
    for (let left = this.#random.below(10); left > 0; left--) this.#change();
    await pause(this.#random.below(60));
    if (this.#random.below(2) === 0) api.compact();
    await api.listen();
    this.#isAway = false;
  }

  #mend(): void {
    const { api } = this.#rig;
    for (const kind of this.#hidden) api.install(kind);
    for (const kind of this.#forbidden) api.permit(kind);
    this.#hidden.clear();
    this.#forbidden.clear();
  }

  /** No fault is left, and no object that cannot be used: those keep what came before. */
  heal(): void {
    const { api } = this.#rig;
    this.#mend();
    api.delayMs = 0;
    api.disturb = (events) => events;
    api.calm();
    for (const object of this.#broken.values()) api.put(object);
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function sameNamespace(one: KubeObject, other: KubeObject): boolean {
  return one.metadata.namespace === other.metadata.namespace;
}

/** What is in force, as a value. */
function stateOf(watched: WatchedSource, control: ControlPlane): unknown {
  const { revision: _revision, ...snapshot } = contents(control.current) as { revision: number };
  const objects = [...watched.objects].map(([key, { value }]) => [key, value] as const);
  return { objects: Object.fromEntries(objects.sort()), snapshot };
}

async function freshState(rig: ClusterRig): Promise<unknown> {
  const control = new ControlPlane({ enrolment: "label" });
  const watched = await rig.started();
  control.apply(watched.first);
  return stateOf(watched, control);
}

test.each(SEEDS)("schedule %i ends as a fresh start does", async (seed) => {
  // Kinds that are hidden are never away for long enough to be believed gone.
  const timings = { ...HASTE, goneAfterMs: 60_000 };
  const rig = await clusterRig((end) => ends.push(end));
  for (const object of OBJECTS) rig.api.put(object);
  const schedule = new Schedule(seed, rig);
  const control = new ControlPlane({ enrolment: "label" });
  const watched = await rig.started({ timings });
  control.apply(watched.first);
  const lost: string[] = [];
  watched.source.subscribe((change) => {
    control.apply(change);
    for (const { kind, namespace, name } of change.removed) {
      const key = `${kind}/${namespace}/${name}`;
      if (!schedule.deleted.has(key)) lost.push(key);
    }
  });
  for (let step = 0; step < STEPS; step++) await schedule.step();
  schedule.heal();
  const fresh = await freshState(rig);
  await expect
    .poll(() => stateOf(watched, control), { timeout: 15_000, interval: 20 })
    .toEqual(fresh)
    .catch((caught: Error) => {
      throw new Error(`${caught.message}\nafter ${schedule.steps.join("\n")}`, { cause: caught });
    });
  expect(lost).toEqual([]);
  expect(watched.source.diagnostics).toEqual([]);
  const away = rig.log.filter(({ msg }) => msg.includes("does not answer"));
  expect(away.length).toBeLessThanOrEqual(1);
});
