/**
 * How a command ends badly: one line, a hint with what to try, and an exit code.
 *
 *     0 well   1 it failed   64 wrong usage   65 the configuration does not parse
 *
 * This is the one place where a failure becomes an exit code.
 */
import { Failure } from "../kit/failure.ts";

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 64;
export const EXIT_CONFIGURATION = 65;

export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: number;
  /** What to do about it; empty when the message says it all. */
  readonly hint: string;

  constructor(exitCode: number, message: string, hint = "", options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

export function usageError(message: string, hint = ""): CommandError {
  return new CommandError(EXIT_USAGE, message, hint);
}

export function exitCodeOf(caught: unknown): number {
  if (caught instanceof CommandError) return caught.exitCode;
  if (caught instanceof Failure && caught.code === "CONFIGURATION_INVALID") {
    return EXIT_CONFIGURATION;
  }
  return EXIT_FAILED;
}

/** `Error: …`, the hint on a line of its own, and the stack only when asked for. */
export function describeError(caught: unknown, isVerbose: boolean): string {
  const error = caught instanceof Error ? caught : new Error(String(caught));
  const hint = error instanceof CommandError || error instanceof Failure ? error.hint : "";
  const lines = [`Error: ${error.message}`];
  if (hint) lines.push(hint);
  if (isVerbose && error.stack) lines.push(error.stack);
  return lines.join("\n");
}
