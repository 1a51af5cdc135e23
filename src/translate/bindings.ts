/**
 * Which waypoint serves an object: the `istio.io/use-waypoint` labels.
 *
 * In this order (Istio's, but for the last line):
 *   1. The label on the object, else the one on its namespace; "none" ends the search. An object's
 *      own label never falls back to the namespace's, whatever becomes of it.
 *   2. `use-waypoint-namespace` beside the label names the Gateway's namespace, else it is the
 *      object's.
 *   3. A waypoint's own Service and pods are never bound.
 *   4. The namespace's waypoint is passed over by traffic that it is not for (`waypoint-for`); an
 *      object's own label that asks for such traffic is a mistake.
 *   5. A waypoint that is missing, not ready or not permitted leaves an `unusable` binding: the
 *      traffic is refused (D4). With `compatibility: istio` it leaves none: the traffic goes past.
 */
import type { WaypointBinding, WaypointProblem } from "../model/waypoint.ts";
import type { Findings } from "./findings.ts";
import { LABEL } from "./labels.ts";
import type { Labels } from "./object-names.ts";
import type { Surroundings } from "./surroundings.ts";
import { admits, serves } from "./waypoints.ts";

/** What is to be bound. */
export interface Bindable {
  readonly namespace: string;
  readonly labels: Labels;
  readonly traffic: "service" | "workload";
}

export interface WaypointChoice {
  /** As the snapshot has it. */
  readonly binding: WaypointBinding | undefined;
  /** What was asked for, whatever became of it. */
  readonly wanted: string | undefined;
  readonly problem: WaypointProblem | undefined;
  /** Where the label stands. */
  readonly from: "object" | "namespace" | undefined;
  readonly traffic: Bindable["traffic"];
}

/** Nothing was asked for. */
export function unbound(traffic: Bindable["traffic"]): WaypointChoice {
  return { binding: undefined, wanted: undefined, problem: undefined, from: undefined, traffic };
}

type BindingSurroundings = Pick<Surroundings, "settings" | "namespace" | "waypoint">;

export function chooseWaypoint(object: Bindable, near: BindingSurroundings): WaypointChoice {
  const label = useWaypointLabel(object, near);
  const { traffic } = object;
  if (label === undefined) return unbound(traffic);
  const { wanted, from } = label;
  const unusable = (problem: WaypointProblem): WaypointChoice => {
    const isIstio = near.settings.compatibility === "istio";
    const binding = { state: "unusable", waypoint: wanted, reason: problem } as const;
    return { binding: isIstio ? undefined : binding, wanted, from, problem, traffic };
  };
  const facts = near.waypoint(wanted);
  if (facts === undefined) {
    // Nothing says that the missing waypoint is for workloads; Gateways are for services by
    // default.
    if (from === "namespace" && traffic === "workload") return unbound(traffic);
    return unusable("WaypointMissing");
  }
  const { waypoint } = facts;
  if (!serves(waypoint, traffic)) {
    if (from === "namespace") return unbound(traffic);
    return unusable("UnsupportedTrafficType");
  }
  if (!admits(facts, near.namespace(object.namespace))) {
    return unusable("AttachmentDenied");
  }
  if (!waypoint.isReady) return unusable("WaypointIsNotReady");
  const binding = {
    state: "bound",
    waypoint: waypoint.key,
    service: waypoint.service,
    hbonePort: waypoint.hbonePort,
  } as const;
  return { binding, wanted, from, problem: undefined, traffic };
}

interface UseWaypointLabel {
  readonly wanted: string;
  readonly from: "object" | "namespace";
}

function useWaypointLabel(
  object: Bindable,
  near: BindingSurroundings,
): UseWaypointLabel | undefined {
  const own = wantedBy(object.labels, object.namespace);
  if (own !== undefined) return own === "none" ? undefined : { wanted: own, from: "object" };
  const inherited = wantedBy(near.namespace(object.namespace).labels, object.namespace);
  if (inherited === undefined || inherited === "none") return undefined;
  return { wanted: inherited, from: "namespace" };
}

/** The key of the Gateway, or "none". */
function wantedBy(labels: Labels, namespace: string): string | undefined {
  const name = labels[LABEL.useWaypoint];
  if (name === undefined || name === "") return undefined;
  if (name === "none") return "none";
  return `${labels[LABEL.useWaypointNamespace] ?? namespace}/${name}`;
}

/** Whether ingress traffic goes through the waypoint: the object's label, else its namespace's. */
export function ingressUsesWaypoint(
  object: Bindable,
  near: Pick<Surroundings, "namespace">,
): boolean {
  const own = object.labels[LABEL.ingressUseWaypoint];
  if (own !== undefined) return own === "true";
  return near.namespace(object.namespace).labels[LABEL.ingressUseWaypoint] === "true";
}

/** The condition `istio.io/WaypointBound`, and what to do about it. */
export function reportBinding(
  { wanted, problem, from, traffic }: WaypointChoice,
  ingressUseWaypoint: boolean,
  findings: Findings,
  effect: "refused" | "bypassed",
): void {
  if (wanted === undefined) return;
  const type = "istio.io/WaypointBound";
  if (problem === undefined) {
    const ingress = ingressUseWaypoint
      ? "Ingress traffic will traverse the waypoint"
      : "Ingress traffic is not using the waypoint, set the istio.io/ingress-use-waypoint label to true if desired.";
    const message = `Successfully attached to waypoint ${wanted}. ${ingress}`;
    findings.condition(type, true, "WaypointAccepted", message);
    return;
  }
  const { reason, message } = PROBLEMS[problem](wanted, traffic);
  findings.condition(type, false, reason, message);
  const outcome =
    effect === "refused"
      ? "its traffic is refused until that is put right"
      : "its traffic goes past the waypoint (compatibility: istio)";
  const path = from === "object" ? ["metadata", "labels", LABEL.useWaypoint] : [];
  const origin = from === "namespace" ? " (label of the namespace)" : "";
  findings.report("WS0103", `${message}${origin}; ${outcome}`, path);
}

/** Istio knows no condition of its own for a missing waypoint: to it, that one is not ready. */
const PROBLEMS: Record<
  WaypointProblem,
  (wanted: string, traffic: string) => { reason: string; message: string }
> = {
  WaypointMissing: (wanted) => ({
    reason: "WaypointIsNotReady",
    message: `waypoint "${wanted}" is not ready: there is no such Gateway`,
  }),
  WaypointIsNotReady: (wanted) => ({
    reason: "WaypointIsNotReady",
    message: `waypoint "${wanted}" is not ready`,
  }),
  AttachmentDenied: (wanted) => ({
    reason: "AttachmentDenied",
    message: `we are not permitted to attach to waypoint "${wanted}" (missing allowedRoutes?)`,
  }),
  UnsupportedTrafficType: (wanted, traffic) => ({
    reason: "UnsupportedTrafficType",
    message: `attempting to bind to traffic type "${traffic}" which the waypoint "${wanted}" does not support`,
  }),
};
