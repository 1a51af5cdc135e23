/**
 * Waypoints: Gateways that serve the L7 half of the mesh for services or workloads.
 */
import type { ObjectRef, SourcePosition } from "./object-ref.ts";

/** Label `istio.io/waypoint-for`. */
export type TrafficType = "service" | "workload" | "all" | "none";

export interface Waypoint {
  /** `<namespace>/<name>` of the Gateway. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly className: string;
  readonly trafficType: TrafficType;
  /** Key (`<ns>/<hostname>`) of the Service in front of its pods. */
  readonly service: string;
  /** Service port of the HBONE listener: 15008. */
  readonly hbonePort: number;
  /** SPIFFE ids of its pods. */
  readonly identities: readonly string[];
  readonly isReady: boolean;
  readonly source: ObjectRef;
  readonly position: SourcePosition | undefined;
}

/**
 * What a `use-waypoint` label came to.
 *
 * `unusable` keeps what was wanted: outside `compatibility: istio` such traffic is refused
 * and the reason is told (D4); it is never silently sent past the waypoint.
 */
export type WaypointBinding =
  | {
      readonly state: "bound";
      readonly waypoint: string;
      readonly service: string;
      readonly hbonePort: number;
    }
  | { readonly state: "unusable"; readonly waypoint: string; readonly reason: WaypointProblem };

export type WaypointProblem =
  | "WaypointMissing"
  | "WaypointIsNotReady"
  | "AttachmentDenied"
  | "UnsupportedTrafficType";
