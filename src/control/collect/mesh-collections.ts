import type { Service as CoreService, EndpointSlice, Pod } from "../../api/core.ts";
import type { Gateway } from "../../api/gateway.ts";
import { KINDS, type Kind, type KindName } from "../../api/kinds.ts";
import type { ParsedObject } from "../../api/object.ts";
import type { ServiceEntry } from "../../api/service-entry.ts";
import type { WorkloadEntry } from "../../api/workload-entry.ts";
import { addressOwners, endpointsOf } from "../../model/endpoints.ts";
import type { RequestAuthentication } from "../../model/request-authentication.ts";
import type { AttachedRoute } from "../../model/route.ts";
import type { AuthorizationPolicy, L4Policy } from "../../model/rule.ts";
import type { Endpoint, Service } from "../../model/service.ts";
import type { MeshSettings } from "../../model/settings.ts";
import type { AddressOwners } from "../../model/snapshot.ts";
import type { Waypoint } from "../../model/waypoint.ts";
import type { Workload } from "../../model/workload.ts";
import {
  translateEntryEndpoints,
  translateSlice,
  translateWorkloadEntry,
} from "../../translate/entry-workloads.ts";
import { Findings, type ObjectStatus } from "../../translate/findings.ts";
import { selectorKey } from "../../translate/labels.ts";
import { keyOf, labelsOf, namespaceOf } from "../../translate/object-names.ts";
import { identityOf, isTerminal } from "../../translate/pods.ts";
import type { JwksRequest } from "../../translate/request-authentications.ts";
import {
  attachedRoutes,
  type TranslatedRoute,
  translateConnectionRoute,
  translateGrpcRoute,
  translateHttpRoute,
} from "../../translate/routes.ts";
import {
  type ServiceFacts,
  type TranslatedServices,
  translateService,
  translateServiceEntry,
} from "../../translate/services.ts";
import type { Surroundings } from "../../translate/surroundings.ts";
import { translateGuard } from "../../translate/waypoint-guards.ts";
import { translateWaypoint } from "../../translate/waypoints.ts";
import type { WorkloadFacts } from "../../translate/workload-parts.ts";
import { type Enrolment, translatePod } from "../../translate/workloads.ts";
import type { Collection } from "./collection.ts";
import type { Graph } from "./graph.ts";
import { always, layFoundations, Sources } from "./mesh-foundations.ts";
import { type MeshReads, ONLY } from "./mesh-reads.ts";
import { meshSettings } from "./mesh-settings.ts";
import { PolicyBuilder } from "./policy-collections.ts";
import { Translations, type WithStatus } from "./translations.ts";

/** The Snapshot's indexes as collections, and what is to be said about each object. */
export interface MeshCollections {
  readonly sources: Sources;
  readonly settings: Collection<MeshSettings>;
  readonly waypoints: Collection<Waypoint>;
  readonly services: Collection<Service>;
  readonly workloads: Collection<Workload>;
  readonly endpoints: Collection<readonly Endpoint[]>;
  readonly addresses: Collection<AddressOwners>;
  readonly policies: Collection<readonly AuthorizationPolicy[]>;
  readonly authentications: Collection<readonly RequestAuthentication[]>;
  /** Keys of issuers that RequestAuthentications need, by `jwksKey()`. */
  readonly jwksRequests: Collection<JwksRequest>;
  readonly l4Policies: Collection<L4Policy>;
  readonly l4PoliciesByNamespace: Collection<readonly L4Policy[]>;
  readonly routes: Collection<readonly AttachedRoute[]>;
  /** By `<Kind>/<ns>/<name>`. */
  readonly statuses: Collection<ObjectStatus>;
}

export interface MeshOptions {
  readonly enrolment: Enrolment;
  /** What a mesh without a MeshConfig has. */
  readonly defaults: MeshSettings;
}

export function makeMeshCollections(graph: Graph, options: MeshOptions): MeshCollections {
  const sources = new Sources(graph);
  const { settings, statuses } = meshSettings(sources, graph, options.defaults);
  const reads = layFoundations(graph, sources, settings);
  const builder = new MeshBuilder(graph, sources, reads, statuses);
  const waypoints = builder.addWaypoints();
  const services = builder.addServices();
  const policies = new PolicyBuilder(graph, sources, reads, builder.translations);
  const l4Facts = policies.addL4Policies();
  const peers = policies.addPeerAuthentications();
  const workloads = builder.addWorkloads(options.enrolment);
  const guards = builder.addGuards(workloads);
  const l4Policies = graph.union("l4Policies", [l4Facts, peers, guards]);
  const models = graph.select("workloadModels", workloads, ({ workload }) => workload);
  return {
    sources,
    settings,
    waypoints,
    services,
    workloads: models,
    endpoints: builder.addEndpoints(models),
    addresses: builder.addAddresses(workloads, services),
    policies: policies.addPolicies(),
    authentications: policies.addAuthentications(),
    jwksRequests: policies.addJwksRequests(),
    l4Policies,
    l4PoliciesByNamespace: policies.addNamespacePolicies(l4Facts),
    routes: builder.addRoutes(),
    statuses: builder.addStatuses(),
  };
}

class MeshBuilder {
  readonly #graph: Graph;
  readonly #sources: Sources;
  readonly #reads: MeshReads;
  readonly translations: Translations;

  constructor(
    graph: Graph,
    sources: Sources,
    reads: MeshReads,
    settingsStatuses: Collection<ObjectStatus>,
  ) {
    this.#graph = graph;
    this.#sources = sources;
    this.#reads = reads;
    this.translations = new Translations(graph, reads, settingsStatuses);
  }

  addWaypoints(): Collection<Waypoint> {
    const gateways = this.#sources.of<Gateway>("Gateway");
    const translated = this.translations.translate("Gateway", gateways, translateWaypoint);
    const facts = this.#graph.select("waypointFacts", translated, (t) => t.facts);
    this.#reads.waypoints = facts;
    this.#reads.waypointsByService = this.#graph.index("waypointsByService", facts, (f) => [
      f.waypoint.service,
    ]);
    this.#addIngress();
    return this.#graph.select("waypoints", facts, ({ waypoint }) => waypoint);
  }

  /**
   * Pods of Gateways that are no waypoints, and Istio's own ingress gateway in the root
   * namespace.
   */
  #addIngress(): void {
    const pods = this.#sources.of<Pod>("Pod");
    const classic = this.#graph.index("classicIngressPods", pods, (pod) =>
      labelsOf(pod).istio === "ingressgateway" ? [namespaceOf(pod)] : [],
    );
    const identities = (from: readonly ParsedObject<Pod>[], near: Surroundings) =>
      from.filter((p) => !isTerminal(p)).map((p) => identityOf(p, near.settings.trustDomain));
    const gateways = this.#sources.of<Gateway>("Gateway");
    const perGateway = this.translations.derive(
      "ingressGateways",
      gateways,
      (near, _gateway, key) => {
        const found =
          near.waypoint(key) === undefined ? identities(near.gatewayPods(key), near) : [];
        return found.length === 0 ? [] : [[key, found] as const];
      },
    );
    const all = this.#graph.index("allIngress", perGateway, () => [ONLY]);
    this.#reads.ingress = this.#graph.derive("ingress", always(this.#graph), (context) => {
      const near = this.translations.near(context);
      const root = context.lookup(classic, near.settings.rootNamespace);
      const found = [...context.lookup(all, ONLY).flat(), ...identities(root, near)];
      return [[ONLY, [...new Set(found)].sort()]];
    });
  }

  addServices(): Collection<Service> {
    const graph = this.#graph;
    const core = this.#sources.of<CoreService>("Service");
    const kubernetes = this.#flatten(
      "kubernetesServices",
      this.translations.translate("Service", core, translateService),
    );
    this.#reads.kubernetesServicesByHostname = graph.index(
      "kubernetesServicesByHostname",
      kubernetes,
      ({ service }) => [service.hostname],
    );
    const entries = this.#sources.of<ServiceEntry>("ServiceEntry");
    const ofEntries = this.#flatten(
      "entryServices",
      this.translations.translate("ServiceEntry", entries, translateServiceEntry),
    );
    const facts = graph.union("serviceFacts", [kubernetes, ofEntries]);
    this.#reads.services = facts;
    this.#reads.servicesBySelector = graph.index("servicesBySelector", facts, (f) =>
      f.selector === undefined ? [] : [selectorKey(f.service.namespace, f.selector)],
    );
    this.#reads.servicesByHostname = graph.index("servicesByHostname", facts, ({ service }) => [
      service.hostname.toLowerCase(),
    ]);
    this.#reads.servicesByEntry = graph.index("servicesByEntry", facts, ({ entry }) =>
      entry === undefined ? [] : [entry],
    );
    return graph.select("services", facts, ({ service }) => service);
  }

  #flatten(name: string, translated: Collection<TranslatedServices>): Collection<ServiceFacts> {
    return this.#graph.derive(name, translated, (_context, { facts }) =>
      facts.map((f) => [f.service.key, f] as const),
    );
  }

  addWorkloads(enrolment: Enrolment): Collection<WorkloadFacts> {
    const pods = this.translations.translate("Pod", this.#sources.of<Pod>("Pod"), (pod, near) =>
      translatePod(pod, enrolment, near),
    );
    const workloadEntries = this.translations.translate(
      "WorkloadEntry",
      this.#sources.of<WorkloadEntry>("WorkloadEntry"),
      translateWorkloadEntry,
    );
    const entries = this.#sources.of<ServiceEntry>("ServiceEntry");
    const endpoints = this.translations.translate(
      "ServiceEntry",
      entries,
      (entry, near) => translateEntryEndpoints(entry, near.servicesOfEntry(keyOf(entry)), near),
      "#endpoints",
    );
    const slices = this.#sources.of<EndpointSlice>("EndpointSlice");
    const byUid = (facts: WorkloadFacts | undefined) =>
      facts === undefined ? [] : [[facts.workload.uid, facts] as const];
    const graph = this.#graph;
    return graph.union("workloads", [
      graph.derive("pods", pods, (_context, { facts }) => byUid(facts)),
      graph.derive("workloadEntries", workloadEntries, (_context, { facts }) => byUid(facts)),
      graph.derive("entryEndpoints", endpoints, (_context, { facts }) => facts.flatMap(byUid)),
      this.translations.derive("slices", slices, (near, slice) =>
        translateSlice(slice, near).flatMap(byUid),
      ),
    ]);
  }

  /** All workloads of one guard agree about what is in it, so the first speaks for them. */
  addGuards(workloads: Collection<WorkloadFacts>): Collection<L4Policy> {
    const byGuard = this.#graph.index("workloadsByGuard", workloads, ({ guard }) =>
      guard === undefined ? [] : [guard.key],
    );
    const keys = this.#graph.keys("guardKeys", [byGuard]);
    return this.#graph.derive("guards", keys, (context, key) => {
      const guard = context.lookup(byGuard, key)[0]?.guard;
      return guard === undefined
        ? []
        : [[key, translateGuard(guard, this.translations.near(context))]];
    });
  }

  addEndpoints(workloads: Collection<Workload>): Collection<readonly Endpoint[]> {
    const graph = this.#graph;
    const single = graph.derive("singleEndpoints", workloads, (_context, workload) =>
      endpointsOf(workload).map((e) => [`${e.service} ${workload.uid}`, e] as const),
    );
    const byService = graph.index("endpointsByService", single, ({ service }) => [service]);
    const keys = graph.keys("servicesWithEndpoints", [byService]);
    return graph.derive("endpoints", keys, (context, key) => [
      [key, context.lookup(byService, key).map(({ endpoint }) => endpoint)],
    ]);
  }

  addAddresses(
    workloads: Collection<WorkloadFacts>,
    services: Collection<Service>,
  ): Collection<AddressOwners> {
    const graph = this.#graph;
    const byAddress = graph.index("workloadsByAddress", workloads, (f) =>
      f.workload.isHostNetwork ? [] : f.workload.addresses,
    );
    const servicesByVip = graph.index("servicesByVip", services, (s) => s.addresses);
    const keys = graph.keys("addressKeys", [byAddress, servicesByVip]);
    return graph.derive("addresses", keys, (context, address) => {
      const found = context.lookup(byAddress, address).map(({ workload }) => workload);
      return [[address, addressOwners(found, context.lookup(servicesByVip, address))]];
    });
  }

  addRoutes(): Collection<readonly AttachedRoute[]> {
    const of = <T>(
      kind: KindName,
      translate: (o: ParsedObject<T>, near: Surroundings) => TranslatedRoute,
    ) =>
      // Routes of different kinds may have one name.
      this.#graph.derive(
        `${kind} facts`,
        this.translations.translate(kind, this.#sources.of<T>(kind), translate),
        (_context, { facts }, key) =>
          facts === undefined ? [] : [[`${kind}/${key}`, facts] as const],
      );
    const facts = this.#graph.union("routeFacts", [
      of("HTTPRoute", translateHttpRoute),
      of("GRPCRoute", translateGrpcRoute),
      of("TLSRoute", translateConnectionRoute),
      of("TCPRoute", translateConnectionRoute),
    ]);
    const byTarget = this.#graph.index("routesByTarget", facts, ({ targets }) =>
      targets.map(({ key }) => key),
    );
    const keys = this.#graph.keys("routeTargets", [byTarget]);
    return this.#graph.derive("routes", keys, (context, key) => [
      [key, attachedRoutes(key, context.lookup(byTarget, key))],
    ]);
  }

  addStatuses(): Collection<ObjectStatus> {
    for (const kind of Object.keys(KINDS) as KindName[]) {
      const entry: Kind = KINDS[kind];
      if (entry.use === "later") this.translations.translate(kind, this.#sources.of(kind), notYet);
    }
    return this.translations.statuses();
  }
}

/** A kind of a mesh that this version does nothing with. */
function notYet(object: ParsedObject): WithStatus {
  const findings = new Findings(object);
  findings.report("WS0105", `${object.kind} is not acted on by this version`);
  return { status: findings.status() };
}
