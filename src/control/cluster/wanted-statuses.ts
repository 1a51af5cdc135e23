/**
 * What the statuses of the cluster's objects are to say, from what the control plane found out.
 *
 * Beside istiod only what no other writes: our Gateways, their class, and our own entries in
 * routes, for those parents whose waypoint is ours.
 */
import type { Gateway, GatewayClass } from "../../api/gateway.ts";
import type { ParentReference } from "../../api/http-route.ts";
import type { KindName } from "../../api/kinds.ts";
import type { KubeObject } from "../../api/object.ts";
import { differences } from "../../kit/sharded-map.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { ParentStatus } from "../../translate/findings.ts";
import {
  ADDRESS_TYPE_ANNOTATION,
  gatewayAddresses,
  gatewayClassConditions,
  gatewayConditions,
  listenerConditions,
  RESOLVED_REFS,
} from "../../translate/gateway-status.ts";
import { hostOf } from "../../translate/waypoints.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { ClusterMode } from "./cluster-mode.ts";
import type { WantedParent, WantedStatus } from "./status-merge.ts";
import type { WaypointPlans } from "./waypoint-plans.ts";

type Control = Pick<ControlPlane, "current" | "conditions" | "object" | "objects" | "subscribe">;

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

const GATEWAY = new Set(["Accepted", "Programmed", "ResolvedRefs"]);
const ACCEPTED = new Set(["Accepted"]);

type Plans = Pick<WaypointPlans, "isOurs" | "invalidParameters" | "subscribe">;

export class WantedStatuses {
  readonly #control: Control;
  readonly #mode: ClusterMode;
  readonly #plans: Plans;

  constructor(control: Control, mode: ClusterMode, plans: Plans) {
    this.#control = control;
    this.#mode = mode;
    this.#plans = plans;
  }

  /** Calls back with objects whose status changes for another reason than their conditions. */
  subscribe(listener: (kind: KindName, key: string) => void): () => void {
    let fronts = waypointsByService(this.#control.current);
    const ends = [
      this.#plans.subscribe(listener),
      this.#control.subscribe((now, previous) => {
        if (now.waypoints !== previous.waypoints) fronts = waypointsByService(now);
        for (const name of ["endpoints", "services"] as const) {
          for (const [service] of differences<unknown>(previous[name], now[name])) {
            for (const key of fronts.get(service) ?? []) listener("Gateway", key);
          }
        }
      }),
    ];
    return () => {
      for (const end of ends) end();
    };
  }

  /** Undefined: nothing of its status is ours. */
  of(kind: KindName, key: string): WantedStatus | undefined {
    const object = this.#control.object<KubeObject>(kind, key);
    if (object === undefined) return undefined;
    if (kind === "Gateway") return this.#gateway(key, object.value as Gateway);
    const { generation } = object.value.metadata;
    if (kind === "GatewayClass") {
      const { controllerName } = (object.value as GatewayClass).spec;
      if (controllerName !== this.#mode.controllerName) return undefined;
      return { generation, ownTypes: ACCEPTED, conditions: gatewayClassConditions() };
    }
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
    return ["GatewayClass", "Gateway", ...ROUTES, ...conditioned];
  }

  #gateway(key: string, gateway: Gateway): WantedStatus | undefined {
    const waypoint = this.#control.current.waypoints.get(key);
    if (waypoint === undefined || !this.#plans.isOurs(gateway)) return undefined;
    const { service } = waypoint;
    const { endpoints, services } = this.#control.current;
    const hasInstance = endpoints.get(service)?.some(({ isHealthy }) => isHealthy) ?? false;
    const before = gateway.status?.addresses ?? [];
    // Once it has addresses it keeps them: without any, traffic would go past it.
    const virtualIps = services.get(service)?.addresses;
    const isNamed = virtualIps !== undefined && (hasInstance || before.length > 0);
    const hostname = service.slice(service.indexOf("/") + 1);
    const addresses = isNamed
      ? gatewayAddresses(hostname, virtualIps, this.#addressTypes(gateway))
      : before;
    const { listeners } = gateway.spec;
    const conditions = gatewayConditions({
      listeners,
      host: hostOf(waypoint),
      hasAddress: addresses.length > 0,
      hasInstance,
      hasService: virtualIps !== undefined,
      requested: gateway.spec.addresses,
      invalidParameters: this.#plans.invalidParameters(key),
    });
    return {
      generation: gateway.metadata.generation,
      ownTypes: GATEWAY,
      conditions: [...conditions, RESOLVED_REFS],
      fields: addresses.length === 0 ? {} : { addresses },
      listeners: listeners.map((listener) => ({
        name: listener.name,
        attachedRoutes: 0,
        supportedKinds: [],
        conditions: listenerConditions(listener),
      })),
    };
  }

  /** Istiod takes a host name first, and of ours it shall take nothing else. */
  #addressTypes({ metadata }: Gateway): { ips: boolean; hostname: boolean } {
    if (this.#mode.name === "beside") return { ips: false, hostname: true };
    const asked = metadata.annotations?.[ADDRESS_TYPE_ANNOTATION];
    return { ips: asked !== "Hostname", hostname: asked !== "IPAddress" };
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

/** Gateways by the Service in front of their Pods. */
function waypointsByService({ waypoints }: Snapshot): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const [key, { service }] of waypoints.entries()) {
    const keys = found.get(service);
    if (keys === undefined) found.set(service, [key]);
    else keys.push(key);
  }
  return found;
}
