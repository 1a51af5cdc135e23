/**
 * Which proxies are to enforce a policy, and the revision that each of them has said to enforce
 * (D2). A policy is in force everywhere when all of them are at a revision that has it.
 *
 * A waypoint's policies are its Pods' to enforce, a ztunnel's those of its node. A proxy that is
 * connected to another replica of the control plane has no revision here: whoever asks asks all.
 */
import type { KindName } from "../../api/kinds.ts";
import type { KubeObject } from "../../api/object.ts";
import type { ObjectRef } from "../../model/object-ref.ts";
import type { L4Policy } from "../../model/rule.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { AdsClientStatus } from "./ads-stream.ts";

/** A proxy, and the revision that it enforces; null: it is not connected here. */
export interface ProxyReceipt {
  /** `waypoint <pod>.<namespace>`, `ztunnel on <node>`. */
  readonly proxy: string;
  readonly revision: number | null;
}

export interface PolicyReceipt {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** Of the object as it was read; absent for what no API server keeps. */
  readonly uid?: string;
  readonly generation?: number;
  readonly proxies: readonly ProxyReceipt[];
}

export interface EnforcementReport {
  /** Of the configuration in force here: the policies are as they are in it. */
  readonly revision: number;
  readonly policies: readonly PolicyReceipt[];
}

export interface EnforcementQuery {
  readonly kind?: string | undefined;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

type Mesh = Pick<ControlPlane, "current" | "object">;

/** What the policies that are asked for have come to; those that no proxy has are left out. */
export function enforcementReport(
  control: Mesh,
  clients: readonly AdsClientStatus[],
  query: EnforcementQuery,
): EnforcementReport {
  const snapshot = control.current;
  const places = new Map<string, { readonly source: ObjectRef; readonly proxies: Set<string> }>();
  const proxies = new Proxies(snapshot, clients);
  for (const [source, found] of attachments(snapshot, proxies)) {
    const isAsked =
      (query.kind ?? source.kind) === source.kind &&
      (query.namespace ?? source.namespace) === source.namespace &&
      (query.name ?? source.name) === source.name;
    if (!isAsked) continue;
    const id = `${source.kind} ${source.namespace}/${source.name}`;
    const place = places.get(id) ?? { source, proxies: new Set() };
    for (const proxy of found()) place.proxies.add(proxy);
    places.set(id, place);
  }
  const policies = [...places.values()].map(({ source, proxies: names }) => ({
    ...{ kind: source.kind, namespace: source.namespace, name: source.name },
    ...versionOf(control, source),
    proxies: [...names].sort().map((proxy) => ({ proxy, revision: proxies.revisionOf(proxy) })),
  }));
  return { revision: snapshot.revision, policies };
}

/** Each policy, as often as it is attached to something, and by whom it is enforced there. */
function* attachments(
  snapshot: Snapshot,
  proxies: Proxies,
): Generator<readonly [ObjectRef, () => Iterable<string>]> {
  for (const index of [snapshot.policies, snapshot.authentications]) {
    for (const [target, policies] of index.entries()) {
      for (const { source } of policies) yield [source, () => proxies.ofTarget(target)];
    }
  }
  for (const policy of snapshot.l4Policies.values()) {
    yield [policy.source, () => proxies.ofL4Policy(policy)];
  }
}

function versionOf(control: Mesh, { kind, namespace, name }: ObjectRef): object {
  const found = control.object<KubeObject>(kind as KindName, `${namespace}/${name}`);
  const { uid, generation } = found?.value.metadata ?? {};
  return {
    ...(uid === undefined ? {} : { uid }),
    ...(generation === undefined ? {} : { generation }),
  };
}

/** The proxies of the mesh, by what they serve. */
class Proxies {
  readonly #snapshot: Snapshot;
  readonly #revisions = new Map<string, number>();
  /** By waypoint. */
  readonly #instances = new Map<string, Set<string>>();

  constructor(snapshot: Snapshot, clients: readonly AdsClientStatus[]) {
    this.#snapshot = snapshot;
    for (const { node, gateway, nodeName, enforcedRevision } of clients) {
      const proxy = gateway === "" ? ztunnel(nodeName) : waypoint(node.split("~")[2] ?? node);
      if (gateway !== "") this.#addInstance(gateway, proxy);
      if (enforcedRevision === undefined) continue;
      // Two of one name are an old and a new one: the slower counts.
      const other = this.#revisions.get(proxy) ?? enforcedRevision;
      this.#revisions.set(proxy, Math.min(other, enforcedRevision));
    }
    for (const workload of snapshot.workloads.values()) {
      const { waypointInstanceOf: key, status, name, namespace } = workload;
      if (key !== undefined && status === "HEALTHY") {
        this.#addInstance(key, waypoint(`${name}.${namespace}`));
      }
    }
  }

  revisionOf(proxy: string): number | null {
    return this.#revisions.get(proxy) ?? null;
  }

  /** Of `Service/<key>`, `Gateway/<key>` or `GatewayClass/<class>`. */
  *ofTarget(target: string): Generator<string> {
    const slash = target.indexOf("/");
    const [kind, key] = [target.slice(0, slash), target.slice(slash + 1)];
    if (kind === "Gateway") yield* this.#instancesOf(key);
    else if (kind === "GatewayClass") {
      for (const { key: name, className } of this.#snapshot.waypoints.values()) {
        if (className === key) yield* this.#instancesOf(name);
      }
    } else {
      const bound = this.#snapshot.services.get(key)?.waypoint;
      if (bound?.state === "bound") yield* this.#instancesOf(bound.waypoint);
    }
  }

  /** The ztunnels of the nodes where somebody is guarded by it. */
  *ofL4Policy(policy: L4Policy): Generator<string> {
    for (const workload of this.#snapshot.workloads.values()) {
      if (isGuarded(workload) && applies(policy, workload)) yield ztunnel(workload.node);
    }
  }

  #instancesOf(key: string): Iterable<string> {
    return this.#instances.get(key) ?? [];
  }

  #addInstance(key: string, proxy: string): void {
    const found = this.#instances.get(key);
    if (found === undefined) this.#instances.set(key, new Set([proxy]));
    else found.add(proxy);
  }
}

function waypoint(pod: string): string {
  return `waypoint ${pod}`;
}

function ztunnel(node: string): string {
  return `ztunnel on ${node}`;
}

/** A ztunnel stands before it. */
function isGuarded({ tunnelProtocol, hasNativeTunnel, node }: Workload): boolean {
  return tunnelProtocol === "HBONE" && hasNativeTunnel !== true && node !== "";
}

function applies({ scope, namespace, key }: L4Policy, workload: Workload): boolean {
  if (scope === "GLOBAL") return true;
  if (scope === "NAMESPACE") return workload.namespace === namespace;
  return workload.authorizationPolicies.includes(key);
}
