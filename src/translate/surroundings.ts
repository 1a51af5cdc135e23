/**
 * What a translation may look at besides its own object. All of it is read through this interface,
 * so that whoever calls can note what was read, and translations stay pure functions.
 */

import type { EndpointSlice, Pod } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import type { ReferenceGrant } from "../api/reference-grant.ts";
import type { MeshSettings } from "../model/settings.ts";
import type { Locality } from "../model/workload.ts";
import type { FetchedJwks } from "./jwks.ts";
import type { L4Facts } from "./l4-policies.ts";
import type { Labels } from "./object-names.ts";
import type { PeerFacts } from "./peer-authentications.ts";
import type { ConflictSurroundings } from "./route-conflicts.ts";
import type { ServiceFacts } from "./services.ts";
import type { WaypointFacts } from "./waypoints.ts";

/** A namespace; one that nobody has declared has no labels but its name. */
export interface NamespaceFacts {
  readonly name: string;
  readonly labels: Labels;
  readonly annotations: Labels;
}

export interface GatewayClassFacts {
  readonly name: string;
  readonly controllerName: string;
  readonly waypointFor: string | undefined;
}

export interface Surroundings extends ConflictSurroundings {
  readonly settings: MeshSettings;
  namespace(name: string): NamespaceFacts;
  gatewayClass(name: string): GatewayClassFacts | undefined;
  /** Of the Node's labels. */
  locality(node: string): Locality | undefined;
  /** Gateways that are waypoints, by `<ns>/<name>`. */
  waypoint(key: string): WaypointFacts | undefined;
  /** Whether there is a Gateway of that name, be it a waypoint or not. */
  hasGateway(key: string): boolean;
  /** Pods with the label `gateway-name` of that Gateway. */
  gatewayPods(key: string): readonly ParsedObject<Pod>[];
  /** SPIFFE ids of Gateways that are no waypoints: they bring traffic in from outside. */
  ingressIdentities(): readonly string[];
  /** The key of the waypoint that the Service stands in front of. */
  waypointBehind(serviceKey: string): string | undefined;
  service(key: string): ServiceFacts | undefined;
  /** Key of the Kubernetes Service of a namespace with that virtual IP. */
  serviceWithAddress(namespace: string, address: string): string | undefined;
  /** Services with that host name, in any namespace. */
  servicesWithHostname(hostname: string): readonly ServiceFacts[];
  /** Services that a ServiceEntry has made. */
  servicesOfEntry(key: string): readonly ServiceFacts[];
  /** Whether there is such a ServiceEntry. */
  hasEntry(key: string): boolean;
  /** Services of the namespace whose selector takes these labels. */
  servicesSelecting(namespace: string, labels: Labels): readonly ServiceFacts[];
  /** L4 policies whose selector takes these labels. */
  l4PoliciesSelecting(namespace: string, labels: Labels): readonly L4Facts[];
  /** Of the namespace. */
  peerAuthentications(namespace: string): readonly PeerFacts[];
  /** EndpointSlices that name the Pod, or list its address (`addressKey`) and name nothing. */
  slicesOfPod(key: string): readonly ParsedObject<EndpointSlice>[];
  /** Whether a Pod of the namespace has the address to itself, by `addressKey`. */
  hasPodAt(key: string): boolean;
  referenceGrants(namespace: string): readonly ParsedObject<ReferenceGrant>[];
  /** Of several ServiceEntries with one host in one namespace: the key of the one that counts. */
  entryWithHost(namespace: string, host: string): string | undefined;
  /** Of an issuer, by `jwksKey()`; undefined: nobody has fetched them. */
  jwks(key: string): FetchedJwks | undefined;
  /** The namespace of the Kubernetes Service with that host name. */
  kubernetesNamespaceOf(host: string): string | undefined;
}
