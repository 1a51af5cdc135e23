/**
 * What an object's status is to say, laid into what it says: our conditions among those of others,
 * our entries of `parents` among those of other controllers. Pure.
 *
 * Nothing of others is changed, and a condition that says the same keeps the time of its last
 * transition: then nothing is different, and nothing is written.
 */
import { isDeepStrictEqual } from "node:util";
import type { Condition } from "../../translate/findings.ts";

export interface WantedStatus {
  /** Of the object that all this was computed from. */
  readonly generation: number | undefined;
  /** Types of conditions that are ours: those that are not wanted are taken away. */
  readonly ownTypes: ReadonlySet<string>;
  readonly conditions: readonly Condition[];
  /** Routes: our entries. */
  readonly parents?: {
    readonly controllerName: string;
    readonly entries: readonly WantedParent[];
  };
  /** Gateways: fields that are ours alone, and their listeners with conditions. */
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly listeners?: readonly WantedListener[];
}

export interface WantedParent {
  /** As the route has it. */
  readonly parentRef: Json;
  readonly conditions: readonly Condition[];
}

export interface WantedListener {
  readonly name: string;
  readonly attachedRoutes: number;
  readonly supportedKinds: readonly unknown[];
  readonly conditions: readonly Condition[];
}

type Json = Readonly<Record<string, unknown>>;

/** The parts of the status that are to be written; undefined: it says all of that. */
export function mergedStatus(
  observed: unknown,
  wanted: WantedStatus,
  now: string,
): Json | undefined {
  const status = record(observed);
  const { generation, parents, fields, listeners } = wanted;
  const parts: Record<string, unknown> = { ...fields };
  const isOwn = (type: unknown) => wanted.ownTypes.has(String(type));
  const before = list(status.conditions);
  const after = mergedConditions(before, wanted.conditions, isOwn, generation, now);
  if (after.length > 0 || before.length > 0) parts.conditions = after;
  if (parents !== undefined) {
    const merged = mergedParents(list(status.parents), parents, generation, now);
    if (merged.length > 0 || "parents" in status) parts.parents = merged;
  }
  if (listeners !== undefined) {
    const known = list(status.listeners);
    parts.listeners = listeners.map(({ name, conditions, ...rest }) => {
      const own = known.find((one) => one.name === name);
      return { name, ...rest, conditions: ownConditions(own, conditions, generation, now) };
    });
  }
  const isSame = Object.entries(parts).every(([key, part]) => isDeepStrictEqual(part, status[key]));
  return isSame ? undefined : parts;
}

function mergedConditions(
  before: readonly Json[],
  wanted: readonly Condition[],
  isOwn: (type: unknown) => boolean,
  generation: number | undefined,
  now: string,
): readonly Json[] {
  const left = new Map(wanted.map((condition) => [condition.type, condition]));
  const merged: Json[] = [];
  for (const condition of before) {
    if (!isOwn(condition.type)) {
      merged.push(condition);
      continue;
    }
    const own = left.get(String(condition.type));
    left.delete(String(condition.type));
    if (own !== undefined) merged.push(renewed(condition, own, generation, now));
  }
  for (const own of left.values()) merged.push(renewed(undefined, own, generation, now));
  return merged;
}

function renewed(
  before: Json | undefined,
  { type, status, reason, message }: Condition,
  generation: number | undefined,
  now: string,
): Json {
  const isTurn = before?.status !== status;
  const time = before?.lastTransitionTime;
  const next = {
    type,
    status,
    reason,
    message,
    lastTransitionTime: isTurn || typeof time !== "string" ? now : time,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
  return before !== undefined && isDeepStrictEqual(before, next) ? before : next;
}

/** Of an entry that is ours as a whole. */
function ownConditions(
  before: Json | undefined,
  wanted: readonly Condition[],
  generation: number | undefined,
  now: string,
): readonly Json[] {
  return mergedConditions(list(before?.conditions), wanted, () => true, generation, now);
}

function mergedParents(
  before: readonly Json[],
  { controllerName, entries }: NonNullable<WantedStatus["parents"]>,
  generation: number | undefined,
  now: string,
): readonly Json[] {
  const left = [...entries];
  const merged: Json[] = [];
  for (const entry of before) {
    if (entry.controllerName !== controllerName) {
      merged.push(entry);
      continue;
    }
    const at = left.findIndex(({ parentRef }) => isDeepStrictEqual(parentRef, entry.parentRef));
    const [own] = at < 0 ? [] : left.splice(at, 1);
    if (own === undefined) continue;
    merged.push({
      parentRef: own.parentRef,
      controllerName,
      conditions: ownConditions(entry, own.conditions, generation, now),
    });
  }
  for (const { parentRef, conditions } of left) {
    const fresh = ownConditions(undefined, conditions, generation, now);
    merged.push({ parentRef, controllerName, conditions: fresh });
  }
  return merged;
}

function list(value: unknown): readonly Json[] {
  if (!Array.isArray(value)) return [];
  return value.filter((one): one is Json => typeof one === "object" && one !== null);
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null ? (value as Json) : {};
}
