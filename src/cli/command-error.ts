/**
 * How a command ends badly: one line, a hint with what to try, and an exit code.
 *
 *     0 well   1 it failed   64 wrong usage   65 the configuration does not parse
 *     69 (of commands whose 1 is an answer) no mesh is there to be asked
 *
 * This is the one place where a failure becomes an exit code.
 */
import { Failure } from "../kit/failure.ts";

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 64;
export const EXIT_CONFIGURATION = 65;
export const EXIT_UNAVAILABLE = 69;

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

/** What to do about what the system says, by its own code. */
const SYSTEM_HINTS: Readonly<Record<string, string>> = {
  EACCES: "Is that yours to read or write? Ports below 1024 need a privilege.",
  EADDRINUSE: "Somebody else has this port; name another, or 0 for a free one.",
  EADDRNOTAVAIL: "This machine does not have that address.",
  EISDIR: "A file is meant here, not a folder.",
  EMFILE: "Every port of the mesh takes a file descriptor: raise the limit with 'ulimit -n 65536'.",
  ENFILE: "The whole system has run out of file descriptors.",
  ENOENT: "There is no such file or folder.",
  ENOSPC: "The disk is full, or inotify's watches are used up (fs.inotify.max_user_watches).",
  ENOTDIR: "A part of that path is a file; name a folder.",
  EPERM: "The system does not permit that to this user.",
  EROFS: "That file system is read-only; name another folder with --state.",
};

/** The system's code of what went wrong, also where a Failure was made of it. */
function systemHint(error: unknown): string {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const hint = SYSTEM_HINTS[(at as NodeJS.ErrnoException).code ?? ""];
    if (hint !== undefined) return hint;
  }
  return "";
}

/** `Error: …`, the hint on a line of its own, and the stack only when asked for. */
export function describeError(caught: unknown, isVerbose: boolean): string {
  const error = caught instanceof Error ? caught : new Error(String(caught));
  const own = error instanceof CommandError || error instanceof Failure ? error.hint : "";
  const hint = systemHint(error) || own;
  const lines = [`Error: ${error.message}`];
  if (hint) lines.push(hint);
  if (isVerbose && error.stack) lines.push(error.stack);
  return lines.join("\n");
}
