/**
 * `backendRefs[]`: the Service that each stands for, or why it stands for none. One that stands for
 * none keeps its weight, and its share of the requests is answered 500 (Gateway API).
 */
import type { BackendObjectReference, BackendRef, ParentReference } from "../api/http-route.ts";
import type { SourcePosition } from "../model/object-ref.ts";
import type { Backend } from "../model/route.ts";
import { serviceKey } from "../model/service.ts";
import type { ServiceFacts } from "./services.ts";
import type { Surroundings } from "./surroundings.ts";

export type BackendSurroundings = Pick<
  Surroundings,
  "settings" | "service" | "servicesWithHostname" | "referenceGrants"
>;

/** A reason of the condition `ResolvedRefs`. */
export type BackendProblem =
  | "BackendNotFound"
  | "InvalidKind"
  | "RefNotPermitted"
  | "InvalidDestination";

/** Whose reference it is. */
export interface ReferringRoute {
  readonly kind: string;
  readonly namespace: string;
  readonly parentRefs: readonly ParentReference[];
}

export interface ResolvedBackend {
  readonly backend: Backend;
  readonly problem: BackendProblem | undefined;
  readonly message: string;
}

export function resolveBackend(
  ref: BackendObjectReference & Pick<BackendRef, "weight">,
  route: ReferringRoute,
  position: SourcePosition,
  near: BackendSurroundings,
): ResolvedBackend {
  const found = findService(ref, route, near);
  const problem = "problem" in found ? found.problem : undefined;
  return {
    backend: {
      weight: ref.weight ?? 1,
      service: "problem" in found ? undefined : found.service.key,
      port: ref.port ?? 0,
      problem,
      position,
    },
    problem,
    message: "problem" in found ? found.message : "",
  };
}

interface Unresolved {
  readonly problem: BackendProblem;
  readonly message: string;
}

function findService(
  ref: BackendObjectReference,
  route: ReferringRoute,
  near: BackendSurroundings,
): ServiceFacts | Unresolved {
  const group = ref.group ?? "";
  const kind = ref.kind ?? "Service";
  const namespace = ref.namespace ?? route.namespace;
  const isHostname = group === "networking.istio.io" && kind === "Hostname";
  if (!isHostname && (group !== "" || kind !== "Service")) {
    const message = `referencing unsupported backendRef: group "${group}" kind "${kind}"`;
    return { problem: "InvalidKind", message };
  }
  if (!isHostname && !isPermitted(ref, namespace, route, near)) {
    const message = `backendRef ${ref.name}/${namespace} not accessible to a ${route.kind} in namespace "${route.namespace}" (missing a ReferenceGrant?)`;
    return { problem: "RefNotPermitted", message };
  }
  const facts = isHostname
    ? serviceWithHostname(ref.name, route.namespace, near)
    : near.service(serviceKey(namespace, ref.name, near.settings.clusterDomain));
  const host = isHostname
    ? ref.name
    : `${ref.name}.${namespace}.svc.${near.settings.clusterDomain}`;
  if (facts === undefined) {
    return { problem: "BackendNotFound", message: `backend(${host}) not found` };
  }
  if (ref.port === undefined) {
    return { problem: "InvalidDestination", message: `backend(${host}): port is required` };
  }
  if (!facts.service.ports.some(({ port }) => port === ref.port)) {
    return { problem: "BackendNotFound", message: `backend(${host}) has no port ${ref.port}` };
  }
  return facts;
}

/** Of several services with one host name the namespace's own goes first, then Kubernetes'. */
export function serviceWithHostname(
  hostname: string,
  namespace: string,
  near: Pick<Surroundings, "servicesWithHostname">,
): ServiceFacts | undefined {
  const all = near.servicesWithHostname(hostname.toLowerCase());
  return (
    all.find(({ service }) => service.namespace === namespace) ??
    all.find(({ entry }) => entry === undefined) ??
    all[0]
  );
}

/** Another namespace has to agree; Istio asks it for the routes of gateways only. */
function isPermitted(
  ref: BackendObjectReference,
  namespace: string,
  route: ReferringRoute,
  near: BackendSurroundings,
): boolean {
  if (namespace === route.namespace || near.settings.compatibility === "istio") return true;
  // A consumer route may send to whom its clients have asked for anyway.
  const isParent = route.parentRefs.some(
    (parent) =>
      parent.kind === "Service" && parent.name === ref.name && parent.namespace === namespace,
  );
  if (isParent) return true;
  return near.referenceGrants(namespace).some(({ value: { spec } }) => {
    const isFrom = spec.from.some(
      (from) =>
        from.group === "gateway.networking.k8s.io" &&
        from.kind === route.kind &&
        from.namespace === route.namespace,
    );
    const isTo = spec.to.some(
      (to) =>
        to.group === "" && to.kind === "Service" && (to.name === undefined || to.name === ref.name),
    );
    return isFrom && isTo;
  });
}
