/**
 * The configuration in the shape of ztunnel's own `/config_dump`, so that
 * `istioctl ztunnel-config workloads|services|policies|certificates` reads ours (protocols.md §7.1).
 * Of certificates it shows what the other side of a handshake sees; keys are not in it.
 */
import { X509Certificate } from "node:crypto";
import type { CertificateState } from "../agent/certificates.ts";
import type { Cidr, L4Match, L4Policy, StringMatch } from "../model/rule.ts";
import type { Endpoint, Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { WaypointBinding } from "../model/waypoint.ts";
import type { Workload } from "../model/workload.ts";

export function ztunnelConfigDump(
  snapshot: Snapshot,
  certificates: readonly CertificateState[],
  version: string,
): unknown {
  return {
    workloads: [...snapshot.workloads.values()].map(workloadDump),
    services: [...snapshot.services.values()].map((service) => serviceDump(snapshot, service)),
    policies: [...snapshot.l4Policies.values()].map(policyDump),
    certificates: certificates.map(certificateDump),
    stagedServices: {},
    staticConfig: {},
    version: { version },
    config: snapshot.settings,
  };
}

function workloadDump(workload: Workload): unknown {
  return {
    uid: workload.uid,
    workloadIps: workload.addresses,
    ...waypointDump(workload.waypoint),
    protocol: workload.tunnelProtocol,
    networkMode: "Standard",
    name: workload.name,
    namespace: workload.namespace,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    network: workload.network,
    workloadName: workload.workloadName,
    workloadType: workload.workloadType.toLowerCase(),
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    hostname: "",
    node: workload.node,
    nativeTunnel: workload.waypointInstanceOf !== undefined,
    authorizationPolicies: workload.authorizationPolicies,
    status: healthOf(workload.status === "HEALTHY"),
    clusterId: workload.clusterId,
    locality: workload.locality ?? {},
    services: [...workload.services.keys()],
    capacity: workload.capacity ?? 1,
  };
}

function serviceDump(snapshot: Snapshot, service: Service): unknown {
  const endpoints = snapshot.endpoints.get(service.key) ?? [];
  const { mode, routingPreference, healthPolicy } = service.loadBalancing;
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.addresses.map((address) => `${snapshot.settings.network}/${address}`),
    ports: Object.fromEntries(service.ports.map((p) => [p.port, p.targetPort])),
    endpoints: Object.fromEntries(endpoints.map((e) => [e.workloadUid, endpointDump(e)])),
    subjectAltNames: service.subjectAltNames,
    ...waypointDump(service.waypoint),
    loadBalancer: {
      routingPreferences: routingPreference.map(capitalized),
      mode: mode === "UNSPECIFIED" ? "Standard" : capitalized(mode),
      healthPolicy: healthPolicy === "ALLOW_ALL" ? "AllowAll" : "OnlyHealthy",
    },
    ipFamilies: null,
    canonical: service.canonical,
  };
}

function endpointDump(endpoint: Endpoint): unknown {
  return {
    workloadUid: endpoint.workloadUid,
    port: Object.fromEntries(endpoint.ports),
    status: healthOf(endpoint.isHealthy),
  };
}

function waypointDump(binding: WaypointBinding | undefined): object {
  if (binding?.state !== "bound") return {};
  return { waypoint: { destination: binding.service, hboneMtlsPort: binding.hbonePort } };
}

function policyDump(policy: L4Policy): unknown {
  const { name, namespace, isDryRun } = policy;
  const scope =
    policy.scope === "WORKLOAD_SELECTOR" ? "WorkloadSelector" : capitalized(policy.scope);
  const rules = policy.rules.map((rule) => rule.clauses.map((clause) => clause.map(matchDump)));
  return { name, namespace, scope, action: capitalized(policy.action), rules, dryRun: isDryRun };
}

function matchDump(match: L4Match): unknown {
  const fields = Object.entries(match).filter(([, values]) => values.length > 0);
  return Object.fromEntries(
    fields.map(([field, values]) => [field, (values as readonly unknown[]).map(valueDump)]),
  );
}

/** Numbers are ports, `text` is a CIDR's, the rest are matches of strings or service accounts. */
function valueDump(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if ("bytes" in value) return (value as Cidr).text;
  if (!("type" in value)) return value;
  const match = value as StringMatch;
  return match.type === "presence" ? "presence" : { [capitalized(match.type)]: match.value };
}

function certificateDump({ spiffeId, identity, problem }: CertificateState): unknown {
  return {
    identity: spiffeId,
    state: stateOf(identity !== undefined, problem),
    certChain: chainDump(identity?.certificatePem ?? ""),
    rootCerts: chainDump(identity?.rootsPem ?? ""),
  };
}

function stateOf(isAvailable: boolean, problem: string | undefined): string {
  if (isAvailable) return "Available";
  return problem === undefined ? "Initializing" : `Unavailable: ${problem}`;
}

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g;

/** The leaf comes first. */
function chainDump(pems: string): unknown[] {
  return (pems.match(PEM_BLOCK) ?? []).map((pem) => {
    const { serialNumber, validFrom, validTo } = new X509Certificate(pem);
    return {
      pem: Buffer.from(pem).toString("base64"),
      // As ztunnel's: istioctl reads it as a decimal number.
      serialNumber: BigInt(`0x${serialNumber}`).toString(),
      validFrom: secondOf(validFrom),
      expirationTime: secondOf(validTo),
    };
  });
}

/** RFC 3339, as istioctl parses it. */
const secondOf = (time: string): string => `${new Date(time).toISOString().slice(0, 19)}Z`;

const healthOf = (isHealthy: boolean): string => (isHealthy ? "Healthy" : "Unhealthy");

const capitalized = (word: string): string => word[0]!.toUpperCase() + word.slice(1).toLowerCase();
