/**
 * The running mesh in a form for people and programs: what `waystone up` prints, what `status` and
 * `request` ask the admin port for (`/mesh`). A plain value made from a snapshot; a stable interface.
 */
import type { Diagnostic } from "../kit/diagnostic.ts";
import type { Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { WaypointBinding } from "../model/waypoint.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import type { HostPort } from "../net/listeners.ts";
import type { Condition, ObjectStatus } from "../translate/findings.ts";
import { objectKey } from "../translate/object-names.ts";
import type { AddressMode } from "./addresses.ts";

export interface ServiceReport {
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly hostname: string;
  readonly address: string;
  readonly ports: readonly PortReport[];
  /** `<ns>/<name>`, with the reason behind it when it cannot be used; empty: none. */
  readonly waypoint: string;
  readonly endpoints: number;
  readonly healthyEndpoints: number;
}

export interface PortReport {
  readonly port: number;
  readonly name: string;
  readonly protocol: string;
  /** Where it can be dialled; undefined when it is not listened on. */
  readonly dial: HostPort | undefined;
}

export interface WorkloadReport {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly workloadName: string;
  readonly canonicalName: string;
  readonly identity: string;
  readonly address: string;
  readonly protocol: "HBONE" | "TCP";
  /** `echo`, `waypoint`, or `host:port` of a real process. */
  readonly playedBy: string;
}

interface WaypointReport {
  readonly key: string;
  readonly trafficType: string;
  readonly address: string;
  readonly isReady: boolean;
}

/** A policy or route, and what it is attached to (`Service/default/reviews…`). */
interface AttachmentReport {
  readonly kind: string;
  readonly key: string;
  readonly action: string;
  readonly attachedTo: readonly string[];
}

/** A condition as Kubernetes would show it, and the object it stands on. */
interface ConditionReport extends Condition {
  /** `HTTPRoute bookinfo/reviews`; of a route's parent: `… → Service bookinfo/reviews`. */
  readonly object: string;
}

export interface MeshReport {
  readonly revision: number;
  readonly addressMode: AddressMode;
  readonly services: readonly ServiceReport[];
  readonly workloads: readonly WorkloadReport[];
  readonly waypoints: readonly WaypointReport[];
  readonly policies: readonly AttachmentReport[];
  readonly routes: readonly AttachmentReport[];
  readonly conditions: readonly ConditionReport[];
  readonly diagnostics: readonly Diagnostic[];
}

export interface ReportContext {
  readonly snapshot: Snapshot;
  readonly addressMode: AddressMode;
  readonly where: (address: string, port: number) => HostPort | undefined;
  readonly playedBy: (workload: Workload) => string;
  readonly statuses: Iterable<ObjectStatus>;
  readonly diagnostics: readonly Diagnostic[];
}

export function meshReport(context: ReportContext): MeshReport {
  const { snapshot, addressMode, statuses, diagnostics } = context;
  return {
    revision: snapshot.revision,
    addressMode,
    services: sorted([...snapshot.services.values()].map((s) => serviceReport(context, s))),
    workloads: sorted([...snapshot.workloads.values()].map((w) => workloadReport(context, w))),
    waypoints: [...snapshot.waypoints.values()].map((waypoint) => ({
      key: waypoint.key,
      trafficType: waypoint.trafficType,
      address: snapshot.services.get(waypoint.service)?.addresses[0] ?? "",
      isReady: waypoint.isReady,
    })),
    policies: policyReports(snapshot),
    routes: routeReports(snapshot),
    conditions: conditionReports(statuses),
    diagnostics,
  };
}

function serviceReport(context: ReportContext, service: Service): ServiceReport {
  const { snapshot, where } = context;
  const endpoints = snapshot.endpoints.get(service.key) ?? [];
  const address = service.addresses[0] ?? "";
  return {
    key: service.key,
    namespace: service.namespace,
    name: service.name,
    hostname: service.hostname,
    address,
    ports: service.ports.map(({ port, name, protocol }) => ({
      port,
      name,
      protocol,
      dial: where(address, port),
    })),
    waypoint: bindingText(service.waypoint),
    endpoints: endpoints.length,
    healthyEndpoints: endpoints.filter((e) => e.isHealthy).length,
  };
}

function workloadReport(context: ReportContext, workload: Workload): WorkloadReport {
  return {
    uid: workload.uid,
    namespace: workload.namespace,
    name: workload.name,
    workloadName: workload.workloadName,
    canonicalName: workload.canonicalName,
    identity: workloadIdentity(workload),
    address: workload.addresses[0] ?? "",
    protocol: workload.tunnelProtocol,
    playedBy: context.playedBy(workload),
  };
}

function bindingText(binding: WaypointBinding | undefined): string {
  if (binding === undefined) return "";
  return binding.state === "bound" ? binding.waypoint : `${binding.waypoint} (${binding.reason})`;
}

function policyReports(snapshot: Snapshot): AttachmentReport[] {
  const collected = new Attachments();
  for (const [target, policies] of snapshot.policies.entries()) {
    for (const { key, action } of policies) {
      collected.add("AuthorizationPolicy", key, action, target);
    }
  }
  for (const policy of snapshot.l4Policies.values()) {
    const target =
      policy.scope === "GLOBAL"
        ? "the mesh"
        : policy.scope === "NAMESPACE"
          ? `namespace ${policy.namespace}`
          : "workloads by selector";
    collected.add("AuthorizationPolicy", policy.key, policy.action, policy.because ?? target);
  }
  return collected.all();
}

function routeReports(snapshot: Snapshot): AttachmentReport[] {
  const collected = new Attachments();
  for (const [target, routes] of snapshot.routes.entries()) {
    for (const { route, ports } of routes) {
      const suffix = ports.length > 0 ? ` port ${ports.join(", ")}` : "";
      collected.add(route.source.kind, route.key, "", `${target}${suffix}`);
    }
  }
  return collected.all();
}

function conditionReports(statuses: Iterable<ObjectStatus>): ConditionReport[] {
  const rows: ConditionReport[] = [];
  for (const { object, conditions, parents } of statuses) {
    const own = `${object.kind} ${objectKey(object.namespace, object.name)}`;
    for (const condition of conditions) rows.push({ object: own, ...condition });
    for (const { parent, conditions: ofParent } of parents) {
      const name = `${own} → ${parent.kind} ${objectKey(parent.namespace, parent.name)}`;
      for (const condition of ofParent) rows.push({ object: name, ...condition });
    }
  }
  return rows.sort((a, b) => compare(a.object, b.object) || compare(a.type, b.type));
}

/** One row for each object, however many things it is attached to. */
class Attachments {
  readonly #rows = new Map<string, AttachmentReport & { attachedTo: string[] }>();

  add(kind: string, key: string, action: string, target: string): void {
    const id = `${kind} ${key} ${action}`;
    const row = this.#rows.get(id);
    if (row === undefined) this.#rows.set(id, { kind, key, action, attachedTo: [target] });
    else row.attachedTo.push(target);
  }

  all(): AttachmentReport[] {
    return [...this.#rows.values()].sort((a, b) => compare(a.key, b.key));
  }
}

function sorted<T extends { namespace: string; name: string }>(rows: T[]): T[] {
  return rows.sort((a, b) => compare(a.namespace, b.namespace) || compare(a.name, b.name));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
