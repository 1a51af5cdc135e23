/** `exportTo`: which namespaces see a ServiceEntry, a VirtualService, a DestinationRule. */
import type { FieldPath } from "../object.ts";
import { isDnsLabel } from "./dns-names.ts";
import { type Problems, problem } from "./problem.ts";

export interface ExportRules {
  /** `~` for nobody. */
  readonly mayBeNone?: true;
  /** A rule for some workloads is their namespace's business. */
  readonly isOwnOnly?: boolean;
}

export function* exportProblems(
  exportTo: readonly string[] | undefined,
  path: FieldPath,
  namespace: string,
  { mayBeNone, isOwnOnly = false }: ExportRules = {},
): Problems {
  const seen = new Set<string>();
  for (const [i, entry] of (exportTo ?? []).entries()) {
    const meant = entry === "." ? namespace : entry;
    const isNone = entry === "~" && mayBeNone === true;
    if (seen.has(meant)) yield problem([...path, i], `${meant} is named already`);
    else if (!isNone && meant !== "*" && entry !== "." && !isDnsLabel(meant)) {
      yield problem([...path, i], 'must be ".", "*" or a namespace');
    }
    seen.add(meant);
  }
  for (const alone of ["*", "~"]) {
    if (seen.has(alone) && (exportTo?.length ?? 0) > 1) {
      yield problem(path, `${JSON.stringify(alone)} goes with no other entry`);
    }
  }
  if (isOwnOnly && seen.size > 0 && (seen.size > 1 || !seen.has(namespace))) {
    yield problem(path, "of a rule with a workloadSelector may be the own namespace only");
  }
}
