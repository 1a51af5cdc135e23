/**
 * The collections and indexes that translations read. They come into being one after the other,
 * each from those before it; what is not there yet cannot be read, and need not be.
 */
import type { EndpointSlice, Pod, Service } from "../../api/core.ts";
import type { Gateway } from "../../api/gateway.ts";
import type { RouteObject } from "../../api/http-route.ts";
import type { ParsedObject } from "../../api/object.ts";
import type { ReferenceGrant } from "../../api/reference-grant.ts";
import type { ServiceEntry } from "../../api/service-entry.ts";
import type { MeshSettings } from "../../model/settings.ts";
import type { Locality } from "../../model/workload.ts";
import type { FetchedJwks } from "../../translate/jwks.ts";
import type { L4Facts } from "../../translate/l4-policies.ts";
import type { PeerFacts } from "../../translate/peer-authentications.ts";
import type { OverridingKind } from "../../translate/route-conflicts.ts";
import type { ServiceFacts } from "../../translate/services.ts";
import type { GatewayClassFacts, NamespaceFacts } from "../../translate/surroundings.ts";
import type { WaypointFacts } from "../../translate/waypoints.ts";
import type { Collection, CollectionIndex } from "./collection.ts";

/** The key in collections of one value. */
export const ONLY = "";

export interface MeshReads {
  readonly settings: Collection<MeshSettings>;
  readonly namespaces: Collection<NamespaceFacts>;
  readonly gatewayClasses: Collection<GatewayClassFacts>;
  readonly localities: Collection<Locality>;
  readonly jwks: Collection<FetchedJwks>;
  readonly gateways: Collection<ParsedObject<Gateway>>;
  readonly entries: Collection<ParsedObject<ServiceEntry>>;
  readonly podsByGateway: CollectionIndex<ParsedObject<Pod>>;
  readonly servicesByAddress: CollectionIndex<ParsedObject<Service>>;
  readonly podsByAddress: CollectionIndex<ParsedObject<Pod>>;
  readonly slicesByPod: CollectionIndex<ParsedObject<EndpointSlice>>;
  readonly routesByParent: Readonly<
    Record<OverridingKind, CollectionIndex<ParsedObject<RouteObject>>>
  >;
  readonly grantsByNamespace: CollectionIndex<ParsedObject<ReferenceGrant>>;
  readonly entriesByHost: CollectionIndex<ParsedObject<ServiceEntry>>;
  waypoints?: Collection<WaypointFacts>;
  waypointsByService?: CollectionIndex<WaypointFacts>;
  ingress?: Collection<readonly string[]>;
  kubernetesServicesByHostname?: CollectionIndex<ServiceFacts>;
  services?: Collection<ServiceFacts>;
  servicesBySelector?: CollectionIndex<ServiceFacts>;
  servicesByHostname?: CollectionIndex<ServiceFacts>;
  servicesByEntry?: CollectionIndex<ServiceFacts>;
  peersByNamespace?: CollectionIndex<PeerFacts>;
  l4PoliciesBySelector?: CollectionIndex<L4Facts>;
}
