/**
 * Every item of h2spec's list, by its number, on each side of ours that can be sent it. The
 * expectations are RFC 9113's and 7541's; where the later RFC is stricter or milder than the list,
 * the case names its rule.
 */
import { describe, expect, test } from "vitest";
import { conformanceJson } from "../../support/conformance.ts";
import { type Case, outcomeOf } from "./cases.ts";
import { FRAME_TYPES } from "./frame-types.ts";
import { FRAMES } from "./frames.ts";
import { GENERIC } from "./generic.ts";
import { HPACK } from "./hpack.ts";
import { MESSAGES } from "./messages.ts";
import { fresh, greeted, SIDE_NAMES } from "./sides.ts";

const CASES: readonly Case[] = [...GENERIC, ...HPACK, ...FRAMES, ...FRAME_TYPES, ...MESSAGES];

describe.each(SIDE_NAMES)("%s", (name) => {
  const cases = CASES.filter(({ on }) => on === undefined || on.includes(name));
  test.each(cases.map((each) => [each.id, each] as const))("%s", async (_id, each) => {
    if (each.run !== undefined) {
      await each.run(await fresh(name));
      return;
    }
    const side = await greeted(name);
    side.send(...each.send!(side));
    expect(await outcomeOf(side, each.outcome!)).toBe(each.outcome);
  });
});

const list = conformanceJson<{ cases: { id: string }[] }>("http", "h2spec-cases.json");

test.skipIf(list === undefined)("no item of the list is missing, and none is invented", () => {
  expect(CASES.map(({ id }) => id).sort()).toEqual(list!.cases.map(({ id }) => id).sort());
});
