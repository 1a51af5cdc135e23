/**
 * From the objects of every kind to the parts of the Snapshot, as a graph of collections:
 *
 *     settings, namespaces, classes, nodes
 *       → waypoints → services → workloads → endpoints, addresses, guards
 *                   → routes, policies, L4 policies (before workloads, which name them)
 *       → statuses of them all
 *
 * Here stands only who follows from whom; how, is in `translate/`.
 */
import type { AuthorizationPolicy as ApiPolicy } from "../../api/authorization-policy.ts";
import type { EndpointSlice, Pod, Service as CoreService } from "../../api/core.ts";
import type { Gateway, GatewayClass } from "../../api/gateway.ts";
import type { HTTPRoute } from "../../api/http-route.ts";
import { KINDS, type KindName } from "../../api/kinds.ts";
import type { ParsedObject } from "../../api/object.ts";
import type { ReferenceGrant } from "../../api/reference-grant.ts";
import type { ServiceEntry } from "../../api/service-entry.ts";
import type { WorkloadEntry } from "../../api/workload-entry.ts";
import type { AttachedRoute } from "../../model/route.ts";
import type { AuthorizationPolicy, L4Policy } from "../../model/rule.ts";
import type { Endpoint, Service } from "../../model/service.ts";
import type { MeshSettings } from "../../model/settings.ts";
import type { AddressOwners } from "../../model/snapshot.ts";
import type { Waypoint } from "../../model/waypoint.ts";
import type { Locality, Workload } from "../../model/workload.ts";
import { canonicalAddress } from "../../translate/cidr.ts";
import { addressOwners, translateEndpoints } from "../../translate/endpoints.ts";
import {
  translateEntryEndpoints,
  translateSlice,
  translateWorkloadEntry,
} from "../../translate/entry-workloads.ts";
import { Findings, type ObjectStatus } from "../../translate/findings.ts";
import { translateL4Policy } from "../../translate/l4-policies.ts";
import { LABEL, selectorKey } from "../../translate/labels.ts";
import {
  annotationsOf,
  compareText,
  keyOf,
  labelsOf,
  nameOf,
  namespaceOf,
} from "../../translate/object-names.ts";
import { hasTargets, translatePolicy } from "../../translate/policies.ts";
import { identityOf, isTerminal } from "../../translate/pods.ts";
import { attachedRoutes, translateRoute } from "../../translate/routes.ts";
import {
  type ServiceFacts,
  translateService,
  translateServiceEntry,
} from "../../translate/services.ts";
import type { GatewayClassFacts, NamespaceFacts } from "../../translate/surroundings.ts";
import { translateGuard } from "../../translate/waypoint-guards.ts";
import { translateWaypoint } from "../../translate/waypoints.ts";
import { type Enrolment, translatePod } from "../../translate/workloads.ts";
import type { WorkloadFacts } from "../../translate/workload-parts.ts";
import type { Collection, Context, SourceCollection } from "./collection.ts";
import { Graph } from "./graph.ts";
import { type MeshReads, ONLY } from "./mesh-reads.ts";
import { TrackedSurroundings } from "./tracked-surroundings.ts";
