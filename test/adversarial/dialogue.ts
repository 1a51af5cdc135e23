/**
 * A dialogue: what a peer does, and what must come of it. The answer is written down in words, and
 * the process under attack must afterwards hold no more than a little, have spent no more CPU time
 * than a generous allowance, and have served the bystander all the while.
 */
import { expect } from "vitest";
import type { Stage } from "./stage.ts";

export interface Dialogue {
  readonly name: string;
  /** Plays it and tells the outcome in words. The peer still stands when memory is looked at. */
  readonly play: (stage: Stage) => Promise<readonly string[] | string>;
  readonly outcome: readonly string[] | string | RegExp;
  /** What must be in a log. */
  readonly logs?: RegExp;
  /** A metric's line that must be there, with a value above 0. */
  readonly counts?: RegExp;
  /** What the process may hold more than before; default 2 MiB. */
  readonly heldMiBMax?: number;
  /** Of CPU time, the bystander's included; default 1,500 ms: five times what it takes. */
  readonly cpuMsMax?: number;
}

const BYSTANDER_MS_MAX = 4_000;
const MIB = 1024 * 1024;

export async function perform(stage: Stage, dialogue: Dialogue): Promise<void> {
  const before = await stage.figures();
  const [outcome, bystanderMs] = await Promise.all([dialogue.play(stage), stage.bystand()]);
  const after = await stage.figures();
  const { logs, counts, heldMiBMax = 2, cpuMsMax = 1_500 } = dialogue;
  const output = stage.output;
  if (process.env.FIGURES) {
    const held = ((after.heldBytes - before.heldBytes) / MIB).toFixed(2);
    const cpu = Math.round(after.cpuMs - before.cpuMs);
    console.log(
      `${dialogue.name}: ${held} MiB, ${cpu} ms, bystander ${Math.round(bystanderMs)} ms`,
    );
    console.log(JSON.stringify(outcome), output.slice(0, 600));
  }
  if (dialogue.outcome instanceof RegExp) expect(String(outcome)).toMatch(dialogue.outcome);
  else expect(outcome).toEqual(dialogue.outcome);
  if (logs !== undefined) expect(output).toMatch(logs);
  if (counts !== undefined) expect(after.metrics).toMatch(counts);
  expect(output).not.toMatch(/uncaught|AssertionError|TypeError/i);
  expect(after.heldBytes - before.heldBytes).toBeLessThan(heldMiBMax * MIB);
  expect(after.cpuMs - before.cpuMs).toBeLessThan(cpuMsMax);
  expect(bystanderMs).toBeLessThan(BYSTANDER_MS_MAX);
  expect(stage.isAlive).toBe(true);
}

/** So many of something. */
export function many<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
