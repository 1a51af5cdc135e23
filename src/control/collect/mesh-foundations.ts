/**
 * What stands at the bottom of the graph: one source for each kind, and indexes over them.
 */

import type { EndpointSlice, Pod, Service } from "../../api/core.ts";
import type { Gateway, GatewayClass } from "../../api/gateway.ts";
import type { RouteObject } from "../../api/http-route.ts";
import { KINDS, type KindName } from "../../api/kinds.ts";
import type { KubeObject, ParsedObject } from "../../api/object.ts";
import type { ReferenceGrant } from "../../api/reference-grant.ts";
import type { ServiceEntry } from "../../api/service-entry.ts";
import type { MeshSettings } from "../../model/settings.ts";
import type { Locality } from "../../model/workload.ts";
import { canonicalAddress } from "../../translate/cidr.ts";
import type { FetchedJwks } from "../../translate/jwks.ts";
import { LABEL } from "../../translate/labels.ts";
import { annotationsOf, labelsOf, nameOf, namespaceOf } from "../../translate/object-names.ts";
import { addressKey, ownAddressesOf } from "../../translate/pods.ts";
import { type OverridingKind, parentKey } from "../../translate/route-conflicts.ts";
import type { GatewayClassFacts, NamespaceFacts } from "../../translate/surroundings.ts";
import type { Collection, CollectionIndex, SourceCollection } from "./collection.ts";
import type { Graph } from "./graph.ts";
import { type MeshReads, ONLY } from "./mesh-reads.ts";

/** One source for each kind; the key is `<ns>/<name>`, or the name. */
export class Sources {
  readonly #byKind = new Map<KindName, SourceCollection<ParsedObject>>();
  /** Of issuers, by `jwksKey()`: not written by anybody, but fetched. */
  readonly jwks: SourceCollection<FetchedJwks>;

  constructor(graph: Graph) {
    this.jwks = graph.source<FetchedJwks>("jwks");
    for (const kind of Object.keys(KINDS) as KindName[]) {
      this.#byKind.set(kind, graph.source<ParsedObject>(kind));
    }
  }

  of<T = KubeObject>(kind: KindName): SourceCollection<ParsedObject<T>> {
    // A source holds objects of its own kind only: the reader has checked them against its schema.
    return this.#byKind.get(kind) as unknown as SourceCollection<ParsedObject<T>>;
  }
}

export function layFoundations(
  graph: Graph,
  sources: Sources,
  settings: Collection<MeshSettings>,
): MeshReads {
  const pods = sources.of<Pod>("Pod");
  const services = sources.of<Service>("Service");
  const gateways = sources.of<Gateway>("Gateway");
  const entries = sources.of<ServiceEntry>("ServiceEntry");
  return {
    settings,
    namespaces: graph.select("namespaces", sources.of("Namespace"), namespaceFacts),
    gatewayClasses: graph.select(
      "gatewayClasses",
      sources.of<GatewayClass>("GatewayClass"),
      classFacts,
    ),
    localities: graph.select("localities", sources.of("Node"), localityOf),
    jwks: sources.jwks,
    gateways,
    entries,
    podsByGateway: graph.index("podsByGateway", pods, (pod) => {
      const name = labelsOf(pod)[LABEL.gatewayName];
      return name === undefined ? [] : [`${namespaceOf(pod)}/${name}`];
    }),
    servicesByAddress: graph.index("servicesByAddress", services, (service) => {
      const { clusterIP = "", clusterIPs = [] } = service.value.spec ?? {};
      const namespace = namespaceOf(service);
      return [clusterIP, ...clusterIPs].map((ip) => `${namespace}/${canonicalAddress(ip)}`);
    }),
    podsByAddress: graph.index("podsByAddress", pods, (pod) =>
      ownAddressesOf(pod).map((address) => addressKey(namespaceOf(pod), address)),
    ),
    slicesByPod: graph.index("slicesByPod", sources.of("EndpointSlice"), podsOfSlice),
    routesByParent: {
      GRPCRoute: routesByParent(graph, sources, "GRPCRoute"),
      HTTPRoute: routesByParent(graph, sources, "HTTPRoute"),
      TLSRoute: routesByParent(graph, sources, "TLSRoute"),
    },
    grantsByNamespace: graph.index(
      "grantsByNamespace",
      sources.of<ReferenceGrant>("ReferenceGrant"),
      (grant) => [namespaceOf(grant)],
    ),
    entriesByHost: graph.index("entriesByHost", entries, (entry) =>
      (entry.value.spec?.hosts ?? []).map((host) => `${namespaceOf(entry)}/${host}`),
    ),
  };
}

function routesByParent(
  graph: Graph,
  sources: Sources,
  kind: OverridingKind,
): CollectionIndex<ParsedObject<RouteObject>> {
  return graph.index(`${kind}sByParent`, sources.of<RouteObject>(kind), (route) =>
    (route.value.spec.parentRefs ?? []).map((parent) => parentKey(parent, namespaceOf(route))),
  );
}

function namespaceFacts(object: ParsedObject): NamespaceFacts {
  const name = nameOf(object);
  // Kubernetes sets this label on every Namespace.
  const labels = { ...labelsOf(object), [LABEL.namespaceName]: name };
  return { name, labels, annotations: annotationsOf(object) };
}

function classFacts(object: ParsedObject<GatewayClass>): GatewayClassFacts {
  return {
    name: nameOf(object),
    controllerName: object.value.spec.controllerName,
    waypointFor: labelsOf(object)[LABEL.waypointFor],
  };
}

function localityOf(node: ParsedObject): Locality | undefined {
  const labels = labelsOf(node);
  const region = labels["topology.kubernetes.io/region"] ?? "";
  const zone = labels["topology.kubernetes.io/zone"] ?? "";
  const subzone = labels["topology.istio.io/subzone"] ?? "";
  return region || zone || subzone ? { region, zone, subzone } : undefined;
}

function podsOfSlice(slice: ParsedObject<EndpointSlice>): readonly string[] {
  return (slice.value.endpoints ?? []).flatMap(({ targetRef, addresses }) => {
    if (targetRef?.kind === "Pod") {
      return [`${targetRef.namespace ?? namespaceOf(slice)}/${targetRef.name}`];
    }
    if (targetRef !== undefined) return [];
    return addresses.map((address) => addressKey(namespaceOf(slice), canonicalAddress(address)));
  });
}

/** A source of one value that is always there, for what follows from nothing else. */
export function always(graph: Graph): Collection<true> {
  const source = graph.source<true>("always");
  source.set(ONLY, true);
  return source;
}
