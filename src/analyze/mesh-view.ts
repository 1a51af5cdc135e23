/**
 * The whole mesh as the analysis looks at it: the snapshot that is in force and the objects behind
 * it, with the indexes that only an analysis needs. They are made when they are first asked for.
 */
import type { Gateway } from "../api/gateway.ts";
import type { KindName } from "../api/kinds.ts";
import type { KubeObject, ParsedObject } from "../api/object.ts";
import type { Service } from "../model/service.ts";
import { serviceKey } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Waypoint } from "../model/waypoint.ts";
import type { Workload } from "../model/workload.ts";
import { LABEL } from "../translate/labels.ts";
import {
  compareText,
  keyOf,
  labelsOf,
  nameOf,
  namespaceOf,
  objectKey,
} from "../translate/object-names.ts";
import type { NamespaceFacts } from "../translate/surroundings.ts";
import { admits, allowedNamespaces, serves } from "../translate/waypoints.ts";

/** What the analysis reads. */
export interface AnalyzedMesh {
  readonly snapshot: Snapshot;
  /** All objects of a kind, by `<ns>/<name>` or by name. */
  objects<T = KubeObject>(kind: KindName): Iterable<readonly [string, ParsedObject<T>]>;
  object<T = KubeObject>(kind: KindName, key: string): ParsedObject<T> | undefined;
}

export class MeshView {
  readonly snapshot: Snapshot;
  /** What policies select, once it has been looked for. */
  readonly selections = new Map<ParsedObject, readonly Workload[]>();
  readonly #mesh: AnalyzedMesh;
  #workloadsByNamespace: Map<string, Workload[]> | undefined;
  #servicesByNamespace: Map<string, Service[]> | undefined;
  #fronts: ReadonlySet<string> | undefined;
  /** By kind, then by name or namespace. */
  readonly #namesakes = new Map<string, ReadonlyMap<string, readonly ParsedObject[]>>();
  readonly #inhabitants = new Map<string, ReadonlyMap<string, readonly ParsedObject[]>>();

  constructor(mesh: AnalyzedMesh) {
    this.#mesh = mesh;
    this.snapshot = mesh.snapshot;
  }

  get isIstio(): boolean {
    return this.snapshot.settings.compatibility === "istio";
  }

  objects<T = KubeObject>(kind: KindName): readonly ParsedObject<T>[] {
    return [...this.#mesh.objects<T>(kind)].map(([, object]) => object);
  }

  object<T = KubeObject>(kind: KindName, key: string): ParsedObject<T> | undefined {
    return this.#mesh.object<T>(kind, key);
  }

  /** Objects of a kind with that name, in any namespace. */
  namesakes(kind: KindName, name: string): readonly ParsedObject[] {
    return this.#grouped(this.#namesakes, kind, nameOf).get(name) ?? [];
  }

  /** Objects of a kind in a namespace. */
  inhabitants(kind: KindName, namespace: string): readonly ParsedObject[] {
    return this.#grouped(this.#inhabitants, kind, namespaceOf).get(namespace) ?? [];
  }

  #grouped(
    groups: Map<string, ReadonlyMap<string, readonly ParsedObject[]>>,
    kind: KindName,
    keyOf: (object: ParsedObject) => string,
  ): ReadonlyMap<string, readonly ParsedObject[]> {
    let found = groups.get(kind);
    if (found === undefined) {
      found = grouped(this.objects(kind), keyOf);
      groups.set(kind, found);
    }
    return found;
  }

  /** By `Kind ns/name`, as diagnostics name it. */
  named(label: string): ParsedObject | undefined {
    const space = label.indexOf(" ");
    return this.object(label.slice(0, space) as KindName, label.slice(space + 1));
  }

  namespace(name: string): NamespaceFacts {
    const object = this.object("Namespace", name);
    const labels = object === undefined ? {} : labelsOf(object);
    return { name, labels: { ...labels, [LABEL.namespaceName]: name }, annotations: {} };
  }

  workloadsOf(namespace: string): readonly Workload[] {
    this.#workloadsByNamespace ??= grouped(this.snapshot.workloads.values(), (w) => w.namespace);
    return this.#workloadsByNamespace.get(namespace) ?? [];
  }

  servicesOf(namespace: string): readonly Service[] {
    this.#servicesByNamespace ??= grouped(this.snapshot.services.values(), (s) => s.namespace);
    return this.#servicesByNamespace.get(namespace) ?? [];
  }

  /** The Kubernetes Service of that name. */
  service(namespace: string, name: string): Service | undefined {
    const { clusterDomain } = this.snapshot.settings;
    return this.snapshot.services.get(serviceKey(namespace, name, clusterDomain));
  }

  /** Whether the Service of that key stands in front of a waypoint. */
  isFront(service: string | undefined): boolean {
    this.#fronts ??= new Set([...this.snapshot.waypoints.values()].map((w) => w.service));
    return service !== undefined && this.#fronts.has(service);
  }

  /** Whether a workload of the namespace is in the mesh, or the next one will be. */
  isAmbient(namespace: string): boolean {
    if (this.namespace(namespace).labels[LABEL.dataplaneMode] === "ambient") return true;
    return this.workloadsOf(namespace).some((workload) => isMeshed(workload));
  }

  /** Waypoints that Services of the namespace may use: its own first, the ready ones before. */
  waypointsFor(namespace: string): readonly Waypoint[] {
    const facts = this.namespace(namespace);
    const usable = [...this.snapshot.waypoints.values()].filter(
      (waypoint) => serves(waypoint, "service") && this.admits(waypoint, facts),
    );
    const rank = (waypoint: Waypoint) =>
      (waypoint.namespace === namespace ? 0 : 2) + (waypoint.isReady ? 0 : 1);
    return usable.sort((a, b) => rank(a) - rank(b) || compareText(a.key, b.key));
  }

  /** A name for a new object: the one given, or with a number behind it. */
  freeName(kind: KindName, namespace: string, name: string): string {
    for (let count = 1; ; count++) {
      const free = count === 1 ? name : `${name}-${count}`;
      if (this.object(kind, `${namespace}/${free}`) === undefined) return free;
    }
  }

  admits(waypoint: Waypoint, namespace: NamespaceFacts): boolean {
    const gateway = this.object<Gateway>("Gateway", waypoint.key);
    if (gateway === undefined) return false;
    return admits(
      { waypoint, allowed: allowedNamespaces(gateway.value.spec.listeners) },
      namespace,
    );
  }
}

/** In the mesh, behind a ztunnel. */
export function isMeshed(workload: Workload): boolean {
  return workload.tunnelProtocol === "HBONE" && workload.waypointInstanceOf === undefined;
}

/** `Kind ns/name`, as diagnostics and edits name objects. */
export function labelOf(object: ParsedObject): string {
  return `${object.kind} ${keyOf(object)}`;
}

export function labelOfKey(kind: string, namespace: string, name: string): string {
  return `${kind} ${objectKey(namespace, name)}`;
}

function grouped<V>(values: Iterable<V>, keyOf: (value: V) => string): Map<string, V[]> {
  const found = new Map<string, V[]>();
  for (const value of values) {
    const key = keyOf(value);
    const list = found.get(key);
    if (list === undefined) found.set(key, [value]);
    else list.push(value);
  }
  return found;
}
