/**
 * Runs one target on mutated inputs until time is up or its oracle says no.
 *
 * There is no coverage instrumentation: an input is kept when its outcome's signature is new. The
 * sequence of inputs depends on seed and corpus alone, so a run can be had again; only how far it
 * gets depends on the machine. What fails is made smaller and handed back.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { mutate } from "./mutator.ts";
import { Random } from "./random.ts";
import type { Target } from "./target.ts";

/** Signatures are counted in hundreds; more than this and they are noise. */
const POOL_MAX = 4000;
/** One input; a pause of the collector or a busy machine must fit in. */
const INPUT_MS_MAX = 2000;
const RSS_GROWTH_MAX = 1024 * 1024 * 1024;
const MINIMISE_MS = 4000;
/** Other work (timers, the test runner's messages) has its turn this often. */
const TURN_MS = 50;

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly corpus: readonly Buffer[];
  /** Told of every input before it runs, for a watch over endless loops. */
  readonly onInput?: (input: Buffer) => void;
}

export interface FuzzFinding {
  readonly input: Buffer;
  readonly error: Error;
}

export interface FuzzResult {
  readonly inputs: number;
  readonly signatures: number;
  readonly finding: FuzzFinding | undefined;
}

export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzResult> {
  const run = new FuzzRun(target, options);
  return run.toTheEnd();
}

/** One input, outside of a run. What it throws is the finding. */
export async function replay(target: Target, input: Buffer): Promise<string> {
  const startMs = performance.now();
  const signature = await target.run(Buffer.from(input));
  const tookMs = performance.now() - startMs;
  if (tookMs > INPUT_MS_MAX) throw new Error(`one input took ${Math.round(tookMs)} ms`);
  return signature;
}

class FuzzRun {
  readonly #target: Target;
  readonly #options: FuzzOptions;
  readonly #random: Random;
  readonly #tokens: readonly Buffer[];
  readonly #pool: Buffer[] = [];
  readonly #signatures = new Set<string>();
  readonly #endMs: number;
  readonly #rssAtStart = process.memoryUsage.rss();
  #turnAtMs = 0;
  #inputs = 0;

  constructor(target: Target, options: FuzzOptions) {
    this.#target = target;
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#tokens = target.dictionary.map((token) => Buffer.from(token as string, "latin1"));
    this.#endMs = performance.now() + options.seconds * 1000;
  }

  async toTheEnd(): Promise<FuzzResult> {
    let finding: FuzzFinding | undefined;
    for (const input of this.#options.corpus) {
      finding ??= await this.#try(input);
      this.#pool.push(input);
    }
    if (this.#pool.length === 0) this.#pool.push(Buffer.alloc(0));
    while (finding === undefined && performance.now() < this.#endMs) {
      finding = await this.#try(this.#nextInput());
    }
    if (finding !== undefined) finding = await this.#minimise(finding);
    return { inputs: this.#inputs, signatures: this.#signatures.size, finding };
  }

  #nextInput(): Buffer {
    const random = this.#random;
    return mutate(random.pick(this.#pool), random.pick(this.#pool), this.#tokens, random);
  }

  async #try(input: Buffer): Promise<FuzzFinding | undefined> {
    this.#inputs++;
    this.#options.onInput?.(input);
    try {
      const startMs = performance.now();
      if (startMs > this.#turnAtMs) await this.#takeTurn(startMs);
      const signature = await replay(this.#target, input);
      if (!this.#signatures.has(signature) && this.#pool.length < POOL_MAX) {
        this.#signatures.add(signature);
        this.#pool.push(input);
      }
      return undefined;
    } catch (caught) {
      return { input, error: caught instanceof Error ? caught : new Error(String(caught)) };
    }
  }

  async #takeTurn(nowMs: number): Promise<void> {
    this.#turnAtMs = nowMs + TURN_MS;
    await nextTurn();
    const growth = process.memoryUsage.rss() - this.#rssAtStart;
    if (growth > RSS_GROWTH_MAX) throw new Error(`memory grew by ${growth} bytes`);
  }

  /** Leaves out runs of bytes as long as it still fails in the same way. */
  async #minimise(finding: FuzzFinding): Promise<FuzzFinding> {
    const endMs = performance.now() + MINIMISE_MS;
    let best = finding;
    let size = best.input.length >> 1;
    while (size >= 1 && performance.now() < endMs) {
      let isSmaller = false;
      for (let at = 0; at < best.input.length && performance.now() < endMs; ) {
        const { input } = best;
        const shorter = Buffer.concat([input.subarray(0, at), input.subarray(at + size)]);
        const again = await this.#try(shorter);
        if (again !== undefined && kindOf(again.error) === kindOf(finding.error)) {
          best = again;
          isSmaller = true;
        } else at += size;
      }
      if (!isSmaller || size > best.input.length) size >>= 1;
    }
    return best;
  }
}

/** What went wrong, without the particulars of the input. */
function kindOf(error: Error): string {
  return `${error.name} ${error.message.split(":", 1)[0]!.replace(/\d+/g, "#")}`;
}
