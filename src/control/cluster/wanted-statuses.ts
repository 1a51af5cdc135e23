/**
 * What the statuses of the cluster's objects are to say, from what the control plane found out.
 *
 * Beside istiod only what no other writes: our Gateways, their class, and our own entries in
 * routes, for those parents whose waypoint is ours.
 */
import type { ParentReference } from "../../api/http-route.ts";
import type { KindName } from "../../api/kinds.ts";
import type { KubeObject } from "../../api/object.ts";
import type { ParentStatus } from "../../translate/findings.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { ClusterMode } from "./cluster-mode.ts";
import type { WantedParent, WantedStatus } from "./status-merge.ts";

type Control = Pick<ControlPlane, "current" | "conditions" | "object" | "objects">;

const NONE: ReadonlySet<string> = new Set();
const BOUND = new Set(["istio.io/WaypointBound"]);
const POLICY = new Set(["ZtunnelAccepted", "WaypointAccepted"]);

const ROUTES: ReadonlySet<KindName> = new Set(["GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute"]);

/** Conditions that istiod writes too: ours where it is not. */
const CONDITIONS: Partial<Record<KindName, ReadonlySet<string>>> = {
  AuthorizationPolicy: POLICY,
  Service: BOUND,
  ServiceEntry: BOUND,
};

export class WantedStatuses {
  readonly #control: Control;
  readonly #mode: ClusterMode;

  constructor(control: Control, mode: ClusterMode) {
    this.#control = control;
    this.#mode = mode;
  }

  /** Undefined: nothing of its status is ours. */
  of(kind: KindName, key: string): WantedStatus | undefined {
    const object = this.#control.object<KubeObject>(kind, key);
    if (object === undefined) return undefined;
    const { generation } = object.value.metadata;
    const found = this.#control.conditions.get(`${kind}/${key}`);
    if (ROUTES.has(kind)) {
      const { routeControllerName: controllerName } = this.#mode;
      const entries = this.#parents(object.value, found?.parents ?? []);
      return { generation, ownTypes: NONE, conditions: [], parents: { controllerName, entries } };
    }
    const ownTypes = CONDITIONS[kind];
    if (ownTypes === undefined || this.#mode.name === "beside") return undefined;
    const conditions = (found?.conditions ?? []).filter(({ type }) => ownTypes.has(type));
    return { generation, ownTypes, conditions };
  }

  /** Kinds that have a status of ours, on any of their objects. */
  get kinds(): readonly KindName[] {
    const conditioned = this.#mode.name === "beside" ? [] : (Object.keys(CONDITIONS) as KindName[]);
    return [...ROUTES, ...conditioned];
  }

  /** In the order of the route; of parents that it names twice, one. */
  #parents({ spec }: KubeObject, parents: readonly ParentStatus[]): readonly WantedParent[] {
    const named = (spec as { parentRefs?: readonly ParentReference[] } | undefined)?.parentRefs;
    return parents.flatMap(({ parent, conditions }) => {
      if (!this.#isOurs(parent)) return [];
      const reference = named?.find(
        (one) =>
          one.name === parent.name &&
          (one.kind ?? "Gateway") === parent.kind &&
          (one.group ?? "gateway.networking.k8s.io") === parent.group &&
          one.sectionName === parent.sectionName &&
          one.port === parent.port &&
          (one.namespace === undefined || one.namespace === parent.namespace),
      );
      return reference === undefined ? [] : [{ parentRef: { ...reference }, conditions }];
    });
  }

  /** Without istiod every parent is; beside it those whose waypoint is of our class. */
  #isOurs({ kind, namespace, name }: ParentStatus["parent"]): boolean {
    if (this.#mode.name === "under") return true;
    const { waypoints, services } = this.#control.current;
    const isOurClass = (key: string) => waypoints.get(key)?.className === this.#mode.className;
    if (kind === "Gateway") return isOurClass(`${namespace}/${name}`);
    for (const key of this.#serviceKeys(kind, namespace, name)) {
      const bound = services.get(key)?.waypoint;
      if (bound !== undefined && isOurClass(bound.waypoint)) return true;
    }
    return false;
  }

  /** Services of the mesh that the object stands for. */
  #serviceKeys(kind: string, namespace: string, name: string): readonly string[] {
    const { clusterDomain } = this.#control.current.settings;
    if (kind === "Service") return [`${namespace}/${name}.${namespace}.svc.${clusterDomain}`];
    if (kind === "Hostname") return [`${namespace}/${name}`];
    if (kind !== "ServiceEntry") return [];
    const entry = this.#control.object<KubeObject>("ServiceEntry", `${namespace}/${name}`);
    const { hosts = [] } = (entry?.value.spec ?? {}) as { hosts?: readonly string[] };
    return hosts.map((host) => `${namespace}/${host}`);
  }
}
