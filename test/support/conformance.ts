/**
 * The conformance cases of the peers' suites: a folder outside the project, named by
 * WAYSTONE_CONFORMANCE. Without it the tests that need it skip, and say so.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = process.env.WAYSTONE_CONFORMANCE;

/** The path of a set or file, or `undefined` (with the reason printed once a process). */
export function conformancePath(...parts: string[]): string | undefined {
  if (root === undefined || !existsSync(join(root, ...parts))) {
    const why = root === undefined ? "WAYSTONE_CONFORMANCE is not set" : `${root} has no such set`;
    process.stderr.write(`conformance: ${parts.join("/")} skipped: ${why}\n`);
    return undefined;
  }
  return join(root, ...parts);
}

/** A JSON file of a set, or `undefined` when the set is not there. */
export function conformanceJson<T>(...parts: string[]): T | undefined {
  const path = conformancePath(...parts);
  return path === undefined ? undefined : (JSON.parse(readFileSync(path, "utf8")) as T);
}
