/**
 * The surroundings of a translation, read from the collections through a context, so that
 * everything that is read is tracked.
 */
import type { EndpointSlice, Pod } from "../../api/core.ts";
import type { RouteObject } from "../../api/http-route.ts";
import type { ParsedObject } from "../../api/object.ts";
import type { ReferenceGrant } from "../../api/reference-grant.ts";
import { must } from "../../kit/assert.ts";
import { serviceKey } from "../../model/service.ts";
import type { MeshSettings } from "../../model/settings.ts";
import type { Locality } from "../../model/workload.ts";
import { canonicalAddress } from "../../translate/cidr.ts";
import type { FetchedJwks } from "../../translate/jwks.ts";
import type { L4Facts } from "../../translate/l4-policies.ts";
import { LABEL, labelKeys, selects } from "../../translate/labels.ts";
import {
  compareText,
  createdMsOf,
  keyOf,
  type Labels,
  nameOf,
} from "../../translate/object-names.ts";
import type { PeerFacts } from "../../translate/peer-authentications.ts";
import type { OverridingKind } from "../../translate/route-conflicts.ts";
import type { ServiceFacts } from "../../translate/services.ts";
import type {
  GatewayClassFacts,
  NamespaceFacts,
  Surroundings,
} from "../../translate/surroundings.ts";
import type { WaypointFacts } from "../../translate/waypoints.ts";
import type { Context } from "./collection.ts";
import { type MeshReads, ONLY } from "./mesh-reads.ts";

const EVERYWHERE = "*";

export class TrackedSurroundings implements Surroundings {
  readonly #context: Context;
  readonly #reads: MeshReads;

  constructor(context: Context, reads: MeshReads) {
    this.#context = context;
    this.#reads = reads;
  }

  get settings(): MeshSettings {
    return must(this.#context.fetch(this.#reads.settings, ONLY), "there are always settings");
  }

  namespace(name: string): NamespaceFacts {
    const found = this.#context.fetch(this.#reads.namespaces, name);
    return found ?? { name, labels: { [LABEL.namespaceName]: name }, annotations: {} };
  }

  gatewayClass(name: string): GatewayClassFacts | undefined {
    return this.#context.fetch(this.#reads.gatewayClasses, name);
  }

  locality(node: string): Locality | undefined {
    return this.#context.fetch(this.#reads.localities, node);
  }

  waypoint(key: string): WaypointFacts | undefined {
    return this.#context.fetch(must(this.#reads.waypoints, "waypoints"), key);
  }

  hasGateway(key: string): boolean {
    return this.#context.fetch(this.#reads.gateways, key) !== undefined;
  }

  jwks(key: string): FetchedJwks | undefined {
    return this.#context.fetch(this.#reads.jwks, key);
  }

  gatewayPods(key: string): readonly ParsedObject<Pod>[] {
    return this.#context.lookup(this.#reads.podsByGateway, key);
  }

  ingressIdentities(): readonly string[] {
    return this.#context.fetch(must(this.#reads.ingress, "ingress"), ONLY) ?? [];
  }

  waypointBehind(service: string): string | undefined {
    const index = must(this.#reads.waypointsByService, "waypointsByService");
    return this.#context.lookup(index, service)[0]?.waypoint.key;
  }

  service(key: string): ServiceFacts | undefined {
    return this.#context.fetch(must(this.#reads.services, "services"), key);
  }

  serviceWithAddress(namespace: string, address: string): string | undefined {
    const key = `${namespace}/${canonicalAddress(address)}`;
    const [service] = this.#context.lookup(this.#reads.servicesByAddress, key);
    if (service === undefined) return undefined;
    return serviceKey(namespace, nameOf(service), this.settings.clusterDomain);
  }

  servicesWithHostname(hostname: string): readonly ServiceFacts[] {
    const index = must(this.#reads.servicesByHostname, "servicesByHostname");
    return this.#context.lookup(index, hostname);
  }

  servicesOfEntry(key: string): readonly ServiceFacts[] {
    return this.#context.lookup(must(this.#reads.servicesByEntry, "servicesByEntry"), key);
  }

  hasEntry(key: string): boolean {
    return this.#context.fetch(this.#reads.entries, key) !== undefined;
  }

  servicesSelecting(namespace: string, labels: Labels): readonly ServiceFacts[] {
    const index = must(this.#reads.servicesBySelector, "servicesBySelector");
    return labelKeys(namespace, labels).flatMap((key) =>
      this.#context.lookup(index, key).filter(({ selector }) => selects(selector!, labels)),
    );
  }

  l4PoliciesSelecting(namespace: string, labels: Labels): readonly L4Facts[] {
    const index = must(this.#reads.l4PoliciesBySelector, "l4PoliciesBySelector");
    return [...labelKeys(namespace, labels), ...labelKeys(EVERYWHERE, labels)].flatMap((key) =>
      this.#context.lookup(index, key).filter(({ selector }) => selects(selector!, labels)),
    );
  }

  peerAuthentications(namespace: string): readonly PeerFacts[] {
    const index = must(this.#reads.peersByNamespace, "peersByNamespace");
    return this.#context.lookup(index, namespace);
  }

  slicesOfPod(key: string): readonly ParsedObject<EndpointSlice>[] {
    return this.#context.lookup(this.#reads.slicesByPod, key);
  }

  routesOfParent(kind: OverridingKind, key: string): readonly ParsedObject<RouteObject>[] {
    return this.#context.lookup(this.#reads.routesByParent[kind], key);
  }

  hasPodAt(key: string): boolean {
    return this.#context.lookup(this.#reads.podsByAddress, key).length > 0;
  }

  referenceGrants(namespace: string): readonly ParsedObject<ReferenceGrant>[] {
    return this.#context.lookup(this.#reads.grantsByNamespace, namespace);
  }

  entryWithHost(namespace: string, host: string): string | undefined {
    const entries = this.#context.lookup(this.#reads.entriesByHost, `${namespace}/${host}`);
    const [oldest] = [...entries].sort(
      (a, b) => createdMsOf(a) - createdMsOf(b) || compareText(keyOf(a), keyOf(b)),
    );
    return oldest && keyOf(oldest);
  }

  kubernetesNamespaceOf(host: string): string | undefined {
    const index = must(this.#reads.kubernetesServicesByHostname, "kubernetesServicesByHostname");
    return this.#context.lookup(index, host)[0]?.service.namespace;
  }
}
