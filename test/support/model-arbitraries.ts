/**
 * Generators of what a Snapshot holds: any value that the translation could make, and texts that
 * only a wire would mind.
 */
import fc from "fast-check";
import type { ObjectRef, SourcePosition } from "../../src/model/object-ref.ts";
import type { Cidr, L4Match, L4Policy, L4Rule, StringMatch } from "../../src/model/rule.ts";
import type { Service, ServicePort } from "../../src/model/service.ts";
import { DEFAULT_SETTINGS, type MeshSettings } from "../../src/model/settings.ts";
import type { Waypoint, WaypointBinding } from "../../src/model/waypoint.ts";
import type { Workload } from "../../src/model/workload.ts";
import { canonicalAddress, parseCidr } from "../../src/translate/cidr.ts";

const text = fc.oneof(
  fc.constantFrom("", "reviews", 'a "quoted" one', "naïve ✓", "\\", "a\nb", "*", "__proto__"),
  fc.string({ unit: "grapheme", maxLength: 12 }),
);
/** What names of objects are made of. */
const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9.]{0,8}[a-z0-9])?$/);
const port = fc.integer({ min: 1, max: 65_535 });

const position: fc.Arbitrary<SourcePosition | undefined> = fc.option(
  fc.record({ file: text, line: fc.nat(100_000), column: fc.nat(1000) }),
  { nil: undefined },
);
const source: fc.Arbitrary<ObjectRef> = fc.record({ kind: name, namespace: name, name });

export const addresses: fc.Arbitrary<string> = fc
  .oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.constantFrom("::", "::1", "::ffff:10.0.0.1", "64:ff9b::1.2.3.4", "fd00:0:0:1::"),
  )
  .map(canonicalAddress);

const binding: fc.Arbitrary<WaypointBinding | undefined> = fc.oneof(
  fc.constant(undefined),
  fc.record({
    state: fc.constant("bound" as const),
    waypoint: fc.tuple(name, name).map((parts) => parts.join("/")),
    service: fc.tuple(name, name).map((parts) => parts.join("/")),
    hbonePort: port,
  }),
  fc.record({
    state: fc.constant("unusable" as const),
    waypoint: fc.tuple(name, name).map((parts) => parts.join("/")),
    reason: fc.constantFrom(
      "WaypointMissing",
      "WaypointIsNotReady",
      "AttachmentDenied",
      "UnsupportedTrafficType",
    ),
  }),
);

const servicePort: fc.Arbitrary<ServicePort> = fc.record({
  port,
  targetPort: fc.oneof(fc.constant(0), port),
  name: text,
  protocol: fc.constantFrom("UNKNOWN", "HTTP11", "HTTP2", "GRPC", "TCP", "TLS"),
});

export const services: fc.Arbitrary<Service> = fc
  .record({
    name,
    namespace: name,
    hostname: name,
    addresses: fc.array(addresses, { maxLength: 3 }),
    ports: fc.array(servicePort, { maxLength: 3 }),
    subjectAltNames: fc.array(text, { maxLength: 2 }),
    waypoint: binding,
    ingressUseWaypoint: fc.boolean(),
    loadBalancing: fc.record({
      mode: fc.constantFrom("UNSPECIFIED", "STRICT", "FAILOVER", "PASSTHROUGH"),
      routingPreference: fc.subarray(["REGION", "ZONE", "SUBZONE", "NODE", "CLUSTER", "NETWORK"]),
      healthPolicy: fc.constantFrom("ONLY_HEALTHY", "ALLOW_ALL"),
    }),
    canonical: fc.boolean(),
    source,
    position,
  })
  .map((parts) => ({ ...parts, key: `${parts.namespace}/${parts.hostname}` }) as Service);

const portMap = fc.array(fc.tuple(port, port), { maxLength: 3 }).map((pairs) => new Map(pairs));

export const workloads: fc.Arbitrary<Workload> = fc
  .record({
    parts: fc.record({
      uid: text.map((more) => `Kubernetes//Pod/a/${more}`),
      name,
      namespace: name,
      addresses: fc.array(addresses, { maxLength: 3 }),
      network: text,
      tunnelProtocol: fc.constantFrom("HBONE" as const, "TCP" as const),
      trustDomain: fc.constantFrom("cluster.local", "td", "a.b"),
      serviceAccount: fc.constantFrom("", "default", "sa"),
      waypoint: binding,
      node: text,
      canonicalName: text,
      canonicalRevision: text,
      workloadType: fc.constantFrom("DEPLOYMENT" as const, "CRONJOB", "POD", "JOB"),
      workloadName: text,
      clusterId: fc.constantFrom("Kubernetes", "c1"),
      locality: fc.option(fc.record({ region: text, zone: text, subzone: text }), {
        nil: undefined,
      }),
      status: fc.constantFrom("HEALTHY" as const, "UNHEALTHY"),
      services: fc
        .array(fc.tuple(fc.tuple(name, name), portMap), { maxLength: 3 })
        .map((all) => new Map(all.map(([key, ports]) => [key.join("/"), ports]))),
      authorizationPolicies: fc.array(name, { maxLength: 3 }),
      waypointInstanceOf: fc.option(name, { nil: undefined }),
      source,
    }),
    isHostNetwork: fc.boolean(),
    hasNativeTunnel: fc.boolean(),
    capacity: fc.option(fc.nat(1000), { nil: undefined }),
  })
  .map(
    ({ parts, isHostNetwork, hasNativeTunnel, capacity }): Workload => ({
      ...parts,
      ...(isHostNetwork && { isHostNetwork }),
      ...(hasNativeTunnel && { hasNativeTunnel }),
      ...(capacity !== undefined && { capacity }),
    }),
  );

const stringMatch: fc.Arbitrary<StringMatch> = fc.oneof(
  fc.record({ type: fc.constantFrom("exact" as const, "prefix", "suffix"), value: text }),
  fc.constant({ type: "presence" as const }),
);

const cidr: fc.Arbitrary<Cidr> = fc
  .tuple(addresses, fc.nat(128), fc.boolean())
  .map(([address, length, isRange]) => {
    const bits = Math.min(length, address.includes(":") ? 128 : 32);
    const written = address.includes(":") ? address.toUpperCase() : address;
    return parseCidr(isRange ? `${written}/${bits}` : written)!;
  });

const few = <T>(arbitrary: fc.Arbitrary<T>) => fc.array(arbitrary, { maxLength: 2 });
const account = fc.record({ namespace: name, serviceAccount: name });

const l4Match: fc.Arbitrary<L4Match> = fc.record({
  namespaces: few(stringMatch),
  notNamespaces: few(stringMatch),
  principals: few(stringMatch),
  notPrincipals: few(stringMatch),
  serviceAccounts: few(account),
  notServiceAccounts: few(account),
  sourceIps: few(cidr),
  notSourceIps: few(cidr),
  destinationIps: few(cidr),
  notDestinationIps: few(cidr),
  destinationPorts: few(port),
  notDestinationPorts: few(port),
});

const l4Rule: fc.Arbitrary<L4Rule> = fc.record({
  clauses: few(few(l4Match)),
  position,
});

export const l4Policies: fc.Arbitrary<L4Policy> = fc
  .record({
    namespace: name,
    name: fc.tuple(name, name).map((parts) => parts.join(":")),
    scope: fc.constantFrom("GLOBAL" as const, "NAMESPACE", "WORKLOAD_SELECTOR"),
    action: fc.constantFrom("ALLOW" as const, "DENY"),
    rules: few(l4Rule),
    isDryRun: fc.boolean(),
    source,
    position,
    because: fc.option(text, { nil: undefined }),
  })
  .map((parts) => ({ ...parts, key: `${parts.namespace}/${parts.name}` }));

export const waypoints: fc.Arbitrary<Waypoint> = fc
  .record({
    namespace: name,
    name,
    className: name,
    trafficType: fc.constantFrom("service" as const, "workload", "all", "none"),
    service: name,
    hbonePort: port,
    identities: fc.array(text, { maxLength: 2 }),
    isReady: fc.boolean(),
    source,
    position,
  })
  .map((parts) => ({ ...parts, key: `${parts.namespace}/${parts.name}` }));

export const settings: fc.Arbitrary<MeshSettings> = fc
  .record({
    trustDomain: name,
    trustDomainAliases: fc.array(name, { maxLength: 2 }),
    network: text,
    accessLogFormat: text,
    accessLogEncoding: fc.constantFrom("TEXT" as const, "JSON"),
    connectTimeoutMs: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    retryAttempts: fc.nat(100),
    pathNormalization: fc.constantFrom("NONE" as const, "BASE", "MERGE_SLASHES"),
    compatibility: fc.constantFrom("waystone" as const, "istio"),
  })
  .map((parts) => ({ ...DEFAULT_SETTINGS, ...parts }));
