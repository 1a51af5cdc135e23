/** Which rules of the mesh's policies no request was decided by. */
import { formatPosition } from "../model/object-ref.ts";
import type { AuthorizationPolicy } from "../model/rule.ts";
import type { Snapshot } from "../model/snapshot.ts";

export interface RuleCoverage {
  /** `<namespace>/<name>`. */
  readonly policy: string;
  /** Index of the rule. */
  readonly rule: number;
  /** Where it stands: `policies.yaml:12:7`. */
  readonly place: string | undefined;
}

/** `deciding`: `<policy> <rule>` of those that have decided. Synthesised policies do not count. */
export function uncovered(
  snapshot: Snapshot,
  deciding: ReadonlySet<string>,
): readonly RuleCoverage[] {
  const all = new Map<string, RuleCoverage>();
  const add = (policy: string, rule: number, place: string | undefined) => {
    const key = `${policy} ${rule}`;
    if (!deciding.has(key)) all.set(key, { policy, rule, place });
  };
  const policies = new Set<AuthorizationPolicy>([...snapshot.policies.values()].flat());
  for (const { key, rules, position } of policies) {
    for (const rule of rules) add(key, rule.index, formatPosition(rule.position ?? position));
  }
  for (const { key, rules, position, because } of snapshot.l4Policies.values()) {
    if (because !== undefined) continue;
    for (const [index, rule] of rules.entries()) {
      add(key, index, formatPosition(rule.position ?? position));
    }
  }
  return [...all.values()];
}
