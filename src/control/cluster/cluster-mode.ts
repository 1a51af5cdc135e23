/**
 * The two ways in which Waystone lives in a cluster (D9): as the control plane of Istio's ztunnels
 * and waypoints of class `istio-waypoint`, or beside istiod, for waypoints of a class of its own.
 */
export interface ClusterMode {
  readonly name: "under" | "beside";
  /** The GatewayClass whose Gateways are ours. */
  readonly className: string;
  /** Of the class. */
  readonly controllerName: string;
  /** Whose entries in routes' `status.parents` are ours. */
  readonly routeControllerName: string;
}

/** Istio's names: its command line and its users look for them. */
export const UNDER_WAYSTONE: ClusterMode = {
  name: "under",
  className: "istio-waypoint",
  controllerName: "istio.io/mesh-controller",
  routeControllerName: "istio.io/gateway-controller",
};

/** Names that istiod leaves alone. */
export const BESIDE_ISTIOD: ClusterMode = {
  name: "beside",
  className: "waystone-waypoint",
  controllerName: "waystone.io/mesh-controller",
  routeControllerName: "waystone.io/mesh-controller",
};
