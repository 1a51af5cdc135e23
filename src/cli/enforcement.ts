/**
 * Whether a policy is in force everywhere, from what the replicas of a control plane say of the
 * proxies that each of them knows.
 */
import type { EnforcementReport, PolicyReceipt } from "../control/serve/enforcement.ts";

/** A policy, and how far the proxies are that are to enforce it. */
export interface PolicyEnforcement {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** The largest that a replica has; they count apart. */
  readonly revision: number;
  /** Of the object, where all replicas have read the same. */
  readonly generation: number | undefined;
  readonly enforcing: readonly string[];
  readonly waitingFor: readonly string[];
}

/** From which revision on a replica's proxies count; by default the one it is at. */
export type Since = (replica: string) => number | undefined;

export function enforcementOf(
  reports: ReadonlyMap<string, EnforcementReport>,
  since: Since = () => undefined,
): readonly PolicyEnforcement[] {
  const found = new Map<string, [string, EnforcementReport, PolicyReceipt][]>();
  for (const [replica, report] of reports) {
    for (const policy of report.policies) {
      const key = `${policy.kind} ${policy.namespace}/${policy.name}`;
      found.set(key, [...(found.get(key) ?? []), [replica, report, policy]]);
    }
  }
  return [...found.keys()].sort().map((key) => joined(found.get(key)!, reports.size, since));
}

function joined(
  told: readonly (readonly [string, EnforcementReport, PolicyReceipt])[],
  replicas: number,
  since: Since,
): PolicyEnforcement {
  const [, , { kind, namespace, name }] = told[0]!;
  const proxies = new Set<string>();
  const enforcing = new Set<string>();
  const generations = new Set<number | undefined>();
  for (const [replica, report, policy] of told) {
    generations.add(policy.generation);
    const from = since(replica) ?? report.revision;
    for (const { proxy, revision } of policy.proxies) {
      proxies.add(proxy);
      if (revision !== null && revision >= from) enforcing.add(proxy);
    }
  }
  const isSame = generations.size === 1 && told.length === replicas;
  return {
    ...{ kind, namespace, name },
    revision: Math.max(...told.map(([, { revision }]) => revision)),
    generation: isSame ? [...generations][0] : undefined,
    enforcing: [...enforcing].sort(),
    waitingFor: [...proxies].filter((proxy) => !enforcing.has(proxy)).sort(),
  };
}
