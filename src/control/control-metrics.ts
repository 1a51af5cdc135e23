/** What the control plane says of its own work. */
import type { MetricRegistry } from "../telemetry/metrics.ts";

/** The part of a ControlPlane that is counted. */
interface Counted {
  readonly recomputedObjects: number;
  readonly current: { readonly revision: number };
}

/** Registers the metrics; they are read off when somebody scrapes. */
export function registerControlMetrics(registry: MetricRegistry, control: Counted): void {
  const recomputed = registry
    .counter(
      "waystone_control_recomputed_objects_total",
      "Objects that changes made the control plane compute again.",
      [],
    )
    .child([]);
  const revision = registry
    .gauge("waystone_control_revision", "The revision of the configuration in force.", [], "max")
    .child([]);
  let told = 0;
  registry.beforeExpose(() => {
    recomputed.add(control.recomputedObjects - told);
    told = control.recomputedObjects;
    revision.set(control.current.revision);
  });
}
