/** Which fields of policies the answers hang on: what no test decides by, no test has seen. */
import type { AuthorizationPolicy, FieldMatch } from "../../src/model/rule.ts";
import type { MeshSettings } from "../../src/model/settings.ts";
import type { ConnectionFacts, HttpFacts } from "../../src/policy/facts.ts";
import { naiveAuthorize } from "./naive.ts";

/** How often something was there, and how often the answer hung on it. */
export class Shares {
  readonly #seen = new Map<string, number>();
  readonly #decided = new Map<string, number>();

  count(name: string, isDeciding: boolean): void {
    this.#seen.set(name, (this.#seen.get(name) ?? 0) + 1);
    if (isDeciding) this.#decided.set(name, (this.#decided.get(name) ?? 0) + 1);
  }

  decided(name: string): number {
    return this.#decided.get(name) ?? 0;
  }

  share(name: string): number {
    return (this.#decided.get(name) ?? 0) / (this.#seen.get(name) ?? 1);
  }

  of(names: readonly string[]): Record<string, number> {
    return Object.fromEntries(names.map((name) => [name, this.share(name)]));
  }
}

function without(policy: AuthorizationPolicy, field: FieldMatch): AuthorizationPolicy {
  const drop = (set: readonly FieldMatch[]) => set.filter((other) => other !== field);
  const rules = policy.rules.map((rule) => ({
    ...rule,
    from: rule.from.map(drop),
    to: rule.to.map(drop),
    when: drop(rule.when),
  }));
  return { ...policy, rules };
}

/** For each field that could be asked about, whether the verdict would change without it. */
export function countFields(
  all: readonly AuthorizationPolicy[],
  facts: ConnectionFacts | HttpFacts,
  settings: MeshSettings,
  shares: Shares,
): void {
  const verdict = naiveAuthorize(all, facts, settings);
  all.forEach((policy, i) => {
    for (const rule of policy.rules) {
      for (const field of [...rule.from.flat(), ...rule.to.flat(), ...rule.when]) {
        const other = naiveAuthorize(all.with(i, without(policy, field)), facts, settings);
        shares.count(field.field, JSON.stringify(other) !== JSON.stringify(verdict));
      }
    }
  });
}
