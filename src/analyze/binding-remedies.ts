/**
 * Remedies for what keeps a Service from its waypoint: no label, one that names no waypoint, a
 * waypoint that does not let it in or is for other traffic. Where none could serve, one is created.
 */
import type { Gateway } from "../api/gateway.ts";
import type { ParsedObject } from "../api/object.ts";
import type { Edit, Remedy } from "../kit/diagnostic.ts";
import { nearest } from "../kit/nearest.ts";
import type { Waypoint } from "../model/waypoint.ts";
import { HBONE_PORT } from "../translate/gateway-status.ts";
import { LABEL } from "../translate/labels.ts";
import { type Labels, labelsOf, nameOf, namespaceOf } from "../translate/object-names.ts";
import { serves } from "../translate/waypoints.ts";
import { labelOf, labelOfKey, type MeshView } from "./mesh-view.ts";
import { setLabel } from "./remedy-text.ts";

/** Puts a Service, ServiceEntry or workload behind a waypoint, whatever keeps it from one. */
export function bindingRemedy(object: ParsedObject, mesh: MeshView): Remedy | undefined {
  const namespace = namespaceOf(object);
  const traffic =
    object.kind === "Service" || object.kind === "ServiceEntry" ? "service" : "workload";
  const own = wantedBy(labelsOf(object), namespace);
  const inherited = wantedBy(mesh.namespace(namespace).labels, namespace);
  const holder = own === undefined ? labelOfKey("Namespace", "", namespace) : labelOf(object);
  const wanted = own ?? inherited;
  if (wanted === undefined || wanted === "none") {
    return traffic === "service" ? useWaypoint(labelOf(object), namespace, mesh) : undefined;
  }
  const waypoint = mesh.snapshot.waypoints.get(wanted);
  if (waypoint === undefined) return missing(wanted, holder, namespace, mesh);
  if (!serves(waypoint, traffic)) {
    return [
      setLabel(labelOfKey("Gateway", waypoint.namespace, waypoint.name), LABEL.waypointFor, "all"),
    ];
  }
  if (!mesh.admits(waypoint, mesh.namespace(namespace)))
    return admission(waypoint, namespace, mesh);
  return undefined;
}

function wantedBy(labels: Labels, namespace: string): string | undefined {
  const name = labels[LABEL.useWaypoint];
  if (name === undefined || name === "" || name === "none") return name || undefined;
  return `${labels[LABEL.useWaypointNamespace] ?? namespace}/${name}`;
}

/** The labels that send the traffic of an object (`Kind ns/name`) through a waypoint. */
export function useWaypoint(object: string, namespace: string, mesh: MeshView): Remedy {
  const [waypoint] = mesh.waypointsFor(namespace);
  if (waypoint !== undefined) return labels(object, namespace, waypoint);
  const name = mesh.freeName("Gateway", namespace, "waypoint");
  return [createWaypoint(namespace, name, mesh), setLabel(object, LABEL.useWaypoint, name)];
}

function labels(object: string, namespace: string, waypoint: Waypoint): Remedy {
  const label = setLabel(object, LABEL.useWaypoint, waypoint.name);
  if (waypoint.namespace === namespace) return [label];
  return [label, setLabel(object, LABEL.useWaypointNamespace, waypoint.namespace)];
}

export function createWaypoint(namespace: string, name: string, mesh: MeshView): Edit {
  const [known] = mesh.snapshot.waypoints.values();
  const value = {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { name, namespace },
    spec: {
      gatewayClassName: known?.className ?? "istio-waypoint",
      listeners: [{ name: "mesh", port: HBONE_PORT, protocol: "HBONE" }],
    },
  };
  return { op: "create", object: labelOfKey("Gateway", namespace, name), value };
}

/**
 * A label that names no waypoint: the one of that name in another namespace, the one that it is
 * nearest to, or the only one there is; else the waypoint is created.
 */
function missing(
  wanted: string,
  holder: string,
  namespace: string,
  mesh: MeshView,
): Remedy | undefined {
  const slash = wanted.indexOf("/");
  const [wantedNamespace, name] = [wanted.slice(0, slash), wanted.slice(slash + 1)];
  const usable = mesh.waypointsFor(namespace);
  const namesake = usable.find((waypoint) => waypoint.name === name);
  if (namesake !== undefined) {
    return [setLabel(holder, LABEL.useWaypointNamespace, namesake.namespace)];
  }
  const near = usable.filter((waypoint) => waypoint.namespace === wantedNamespace);
  const guess =
    nearest(
      name,
      near.map((waypoint) => waypoint.name),
    ) ?? only(near)?.name;
  if (guess !== undefined) return [setLabel(holder, LABEL.useWaypoint, guess)];
  // A Gateway that is no waypoint has the name; and of others' namespaces nothing is known.
  const isTaken = mesh.object("Gateway", wanted) !== undefined;
  if (isTaken || wantedNamespace !== namespace) return useWaypoint(holder, namespace, mesh);
  return [createWaypoint(wantedNamespace, name, mesh)];
}

function only<V>(values: readonly V[]): V | undefined {
  return values.length === 1 ? values[0] : undefined;
}

/** Lets in the namespace beside those that are let in already. */
function admission(waypoint: Waypoint, namespace: string, mesh: MeshView): Remedy | undefined {
  const gateway = mesh.object<Gateway>("Gateway", waypoint.key);
  if (gateway === undefined) return undefined;
  const { listeners } = gateway.value.spec;
  const index = listeners.findIndex((l) => l.port === HBONE_PORT && l.protocol === "HBONE");
  if (index < 0) return undefined;
  const from = listeners[index]!.allowedRoutes?.namespaces?.from ?? "Same";
  const values = [namespaceOf(gateway), namespace];
  const both = { key: LABEL.namespaceName, operator: "In", values };
  const value =
    from === "Same"
      ? { from: "Selector", selector: { matchExpressions: [both] } }
      : { from: "All" };
  const path = ["spec", "listeners", index, "allowedRoutes", "namespaces"];
  return [{ op: "set", object: `Gateway ${namespaceOf(gateway)}/${nameOf(gateway)}`, path, value }];
}
