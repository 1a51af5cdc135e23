/**
 * Policies that decide nothing and are counted: AUDIT, and those that are tried out
 * (`istio.io/dry-run`). They stand where Istio has them: AUDIT first, a DENY that is tried beside
 * the DENYs, an ALLOW beside the ALLOWs, which what a DENY has denied does not reach.
 *
 * As in Istio those of one action are judged together, and without those in force.
 */
import type { PolicyAction } from "../model/rule.ts";
import type { Verdict } from "./verdict.ts";

export type ShadowKind =
  | "audited"
  | "deny_shadow_denied"
  | "deny_shadow_allowed"
  | "allow_shadow_allowed"
  | "allow_shadow_denied";

export interface ShadowCounts {
  /** `policy`: the one that matched; empty when none did. */
  add(kind: ShadowKind, policy: string): void;
}

interface Shadow<F> {
  readonly action: PolicyAction;
  readonly isDryRun: boolean;
  match(facts: F): Verdict | undefined;
}

export class ShadowPolicies<F> {
  readonly #audit: readonly Shadow<F>[];
  readonly #deny: readonly Shadow<F>[];
  readonly #allow: readonly Shadow<F>[];

  private constructor(shadows: readonly Shadow<F>[]) {
    this.#audit = shadows.filter(({ action }) => action === "AUDIT");
    this.#deny = shadows.filter(({ action }) => action === "DENY");
    this.#allow = shadows.filter(({ action }) => action === "ALLOW");
  }

  /** `undefined`: there are none, which is all that a request then costs. */
  static of<F>(policies: readonly Shadow<F>[]): ShadowPolicies<F> | undefined {
    const shadows = policies.filter(({ action, isDryRun }) => {
      return isDryRun ? action === "DENY" || action === "ALLOW" : action === "AUDIT";
    });
    return shadows.length === 0 ? undefined : new ShadowPolicies(shadows);
  }

  /** `verdict`: that of the policies in force. */
  judge(facts: F, verdict: Verdict, counts: ShadowCounts): void {
    for (let i = 0; i < this.#audit.length; i++) {
      const audited = this.#audit[i]!.match(facts);
      if (audited !== undefined) counts.add("audited", audited.policy ?? "");
    }
    if (this.#deny.length > 0) {
      const denied = first(this.#deny, facts);
      if (denied === undefined) counts.add("deny_shadow_allowed", "");
      else counts.add("deny_shadow_denied", denied.policy ?? "");
    }
    if (this.#allow.length === 0 || verdict.because === "denied") return;
    const allowed = first(this.#allow, facts);
    if (allowed === undefined) counts.add("allow_shadow_denied", "");
    else counts.add("allow_shadow_allowed", allowed.policy ?? "");
  }
}

function first<F>(shadows: readonly Shadow<F>[], facts: F): Verdict | undefined {
  for (let i = 0; i < shadows.length; i++) {
    const matched = shadows[i]!.match(facts);
    if (matched !== undefined) return matched;
  }
  return undefined;
}
