/** What a fuzz target is, and what its oracle says no with. */
export interface Target {
  readonly name: string;
  /** Tokens of the format, for the mutator. */
  readonly dictionary: readonly (string | Buffer)[];
  /** The corpus as it is written by `npm run fuzz -- --write-corpora`. */
  seeds(): readonly (string | Buffer)[];
  /**
   * Feeds one input. Throws when the oracle is not content; else a short signature of what
   * happened: an input with a new one is kept and mutated further.
   */
  run(input: Buffer): string | Promise<string>;
}

export class OracleError extends Error {
  override readonly name = "OracleError";
}

export function check(isSo: boolean, what: string): asserts isSo {
  if (!isSo) throw new OracleError(what);
}

/** Both compared as JSON; buffers are not for this. */
export function checkSame(actual: unknown, expected: unknown, what: string): void {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left === right) return;
  throw new OracleError(`${what}: ${left?.slice(0, 600)} instead of ${right?.slice(0, 600)}`);
}
