/**
 * How policies fare that decide nothing: Istio's dry-run results under the names that Envoy gives
 * its shadow rules, and AUDIT policies that match.
 *
 * Counters are kept by what was compiled from the policies, so counting looks up two maps, and
 * what is gone is forgotten.
 */
import type { Reporter } from "./istio-metrics.ts";
import type { Counter, CounterFamily, MetricRegistry } from "./metrics.ts";

const LABELS = ["reporter", "destination_workload", "destination_service", "policy"] as const;

type ShadowKind =
  | "allow_shadow_allowed"
  | "allow_shadow_denied"
  | "deny_shadow_allowed"
  | "deny_shadow_denied"
  | "audited";
type Families = Readonly<Record<ShadowKind, CounterFamily>>;

export class ShadowMetrics {
  readonly #reporter: Reporter;
  readonly #families: Families;
  readonly #counts = new WeakMap<object, ShadowCounts>();

  constructor(registry: MetricRegistry, reporter: Reporter) {
    this.#reporter = reporter;
    this.#families = {
      allow_shadow_allowed: registry.counter(
        "istio_dry_run_allow_shadow_allowed_total",
        "Requests and connections that a dry-run ALLOW policy would let in.",
        LABELS,
      ),
      allow_shadow_denied: registry.counter(
        "istio_dry_run_allow_shadow_denied_total",
        "Requests and connections that no dry-run ALLOW policy would let in.",
        LABELS,
      ),
      deny_shadow_allowed: registry.counter(
        "istio_dry_run_deny_shadow_allowed_total",
        "Requests and connections that no dry-run DENY policy would deny.",
        LABELS,
      ),
      deny_shadow_denied: registry.counter(
        "istio_dry_run_deny_shadow_denied_total",
        "Requests and connections that a dry-run DENY policy would deny.",
        LABELS,
      ),
      audited: registry.counter(
        "waystone_policy_audited_total",
        "Requests and connections that an AUDIT policy matches; one may be matched by several.",
        LABELS,
      ),
    };
  }

  /** Of what was compiled for that target; empty names read `unknown`. */
  of(compiled: object, workload: string, service: string): ShadowCounts {
    let counts = this.#counts.get(compiled);
    if (counts === undefined) {
      const target = [this.#reporter, workload || "unknown", service || "unknown"];
      counts = new ShadowCounts(this.#families, target);
      this.#counts.set(compiled, counts);
    }
    return counts;
  }
}

class ShadowCounts {
  readonly #families: Families;
  readonly #target: readonly string[];
  readonly #children: Readonly<Record<ShadowKind, Map<string, Counter>>> = {
    allow_shadow_allowed: new Map(),
    allow_shadow_denied: new Map(),
    deny_shadow_allowed: new Map(),
    deny_shadow_denied: new Map(),
    audited: new Map(),
  };

  constructor(families: Families, target: readonly string[]) {
    this.#families = families;
    this.#target = target;
  }

  add(kind: ShadowKind, policy: string): void {
    const known = this.#children[kind].get(policy);
    if (known !== undefined) known.add(1);
    else this.#first(kind, policy);
  }

  #first(kind: ShadowKind, policy: string): void {
    const child = this.#families[kind].child([...this.#target, policy]);
    this.#children[kind].set(policy, child);
    child.add(1);
  }
}
