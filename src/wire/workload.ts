/** Workloads: model ⇄ `istio.workload.Workload`. */
import { create, equals, type MessageInitShape } from "@bufbuild/protobuf";
import type { ObjectRef } from "../model/object-ref.ts";
import type { Workload } from "../model/workload.ts";
import { nameOf, portOf } from "./enums.ts";
import { originExtension, readOrigin } from "./extension.ts";
import {
  type BindingOrigin,
  bindingOrigin,
  bindingShape,
  decodeBinding,
  encodeBinding,
} from "./gateway-address.ts";
import {
  ExtensionSchema,
  GatewayAddressSchema,
  NetworkMode,
  type PortList,
  TunnelProtocol,
  type Workload as WireWorkload,
  WorkloadSchema,
  WorkloadStatus,
  WorkloadType,
} from "./gen/istio/workload_pb.ts";
import { ipBytes } from "./ip.ts";
import { addressText, type EncodingOptions } from "./service.ts";
import { flag, JsonReader, objectRef, record, text } from "./shapes.ts";

/** What an empty field stands for on the wire. */
const TRUST_DOMAIN = "cluster.local";
const SERVICE_ACCOUNT = "default";
const CLUSTER = "Kubernetes";

interface WorkloadOrigin {
  readonly source: ObjectRef;
  readonly waypoint?: BindingOrigin;
  readonly waypointInstanceOf?: string;
  /** There is none: on the wire that is `default`. */
  readonly hasNoServiceAccount?: boolean;
}

const ORIGIN = new JsonReader<WorkloadOrigin>(
  record(
    { source: objectRef },
    { waypoint: bindingShape, waypointInstanceOf: text, hasNoServiceAccount: flag },
  ),
);

export function encodeWorkload(
  workload: Workload,
  { ignoresUnusable }: EncodingOptions,
): MessageInitShape<typeof WorkloadSchema> {
  const isIgnored = ignoresUnusable && workload.waypoint?.state === "unusable";
  const waypoint = isIgnored ? undefined : encodeBinding(workload.waypoint);
  const { locality } = workload;
  return create(WorkloadSchema, {
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses.flatMap((address) => ipBytes(address) ?? []),
    network: workload.network,
    tunnelProtocol: TunnelProtocol[workload.tunnelProtocol === "HBONE" ? "HBONE" : "NONE"],
    trustDomain: unless(TRUST_DOMAIN, workload.trustDomain),
    serviceAccount: unless(SERVICE_ACCOUNT, workload.serviceAccount),
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: WorkloadType[workload.workloadType],
    workloadName: workload.workloadName,
    authorizationPolicies: [...workload.authorizationPolicies],
    status: WorkloadStatus[workload.status],
    clusterId: unless(CLUSTER, workload.clusterId),
    uid: workload.uid,
    services: Object.fromEntries(
      [...workload.services].map(([service, ports]) => [service, encodePorts(ports)]),
    ),
    networkMode: NetworkMode[workload.isHostNetwork ? "HOST_NETWORK" : "STANDARD"],
    extensions: [originExtension(originOf(workload))],
    ...(waypoint && { waypoint }),
    ...(locality && { locality }),
    nativeTunnel: workload.hasNativeTunnel ?? false,
    ...(workload.capacity !== undefined && { capacity: workload.capacity }),
  });
}

/**
 * A workload as a client: who it is, where it is, and what decides between several on one address.
 * Not what stands behind services, or changes from one moment to the next.
 */
export function encodeSource(workload: Workload): MessageInitShape<typeof WorkloadSchema> {
  const { uid, name, namespace, network, node, canonicalName, canonicalRevision } = workload;
  const { locality, workloadName, workloadType } = workload;
  return {
    ...{ uid, name, namespace, network, node, canonicalName, canonicalRevision, workloadName },
    addresses: workload.addresses.flatMap((address) => ipBytes(address) ?? []),
    tunnelProtocol: TunnelProtocol[workload.tunnelProtocol === "HBONE" ? "HBONE" : "NONE"],
    workloadType: WorkloadType[workloadType],
    clusterId: unless(CLUSTER, workload.clusterId),
    ...(locality && { locality }),
  };
}

function originOf(workload: Workload): WorkloadOrigin {
  const { source, waypointInstanceOf } = workload;
  const waypoint = bindingOrigin(workload.waypoint);
  const hasNoServiceAccount = workload.serviceAccount === "";
  return {
    source,
    ...(waypoint && { waypoint }),
    ...(waypointInstanceOf && { waypointInstanceOf }),
    ...(hasNoServiceAccount && { hasNoServiceAccount }),
  };
}

/**
 * Gives another server's workload the origin that ours has. Of the waypoint only its Gateway's
 * name is ours to say, and only where both mean the same one: the verdict on it is theirs.
 */
export function adoptOrigin(theirs: WireWorkload, ours: WireWorkload): void {
  const origin = readOrigin(ours.extensions, ORIGIN);
  if (origin === undefined) return;
  const { waypoint, ...rest } = origin;
  const [a, b] = [theirs.waypoint, ours.waypoint];
  const isSame = a !== undefined && b !== undefined && equals(GatewayAddressSchema, a, b);
  const adopted = originExtension({ ...rest, ...(isSame && waypoint && { waypoint }) });
  theirs.extensions.unshift(create(ExtensionSchema, adopted));
}

function unless(usual: string, value: string): string {
  return value === usual ? "" : value;
}

function encodePorts(ports: ReadonlyMap<number, number>) {
  return { ports: [...ports].map(([servicePort, targetPort]) => ({ servicePort, targetPort })) };
}

/** Throws with what is wrong. */
export function decodeWorkload(message: WireWorkload): Workload {
  const { uid, namespace, name, locality } = message;
  if (uid === "") throw new Error("no uid");
  const origin = readOrigin(message.extensions, ORIGIN);
  const wanted = origin?.waypoint;
  const isUnusable = message.waypoint === undefined && wanted?.reason !== undefined;
  const tunnel = nameOf(TunnelProtocol, message.tunnelProtocol, "tunnel_protocol");
  const isHostNetwork = nameOf(NetworkMode, message.networkMode, "network_mode") === "HOST_NETWORK";
  return {
    uid,
    name,
    namespace,
    addresses: message.addresses.map(addressText),
    network: message.network,
    tunnelProtocol: tunnel === "HBONE" ? "HBONE" : "TCP",
    trustDomain: message.trustDomain || TRUST_DOMAIN,
    serviceAccount: message.serviceAccount || (origin?.hasNoServiceAccount ? "" : SERVICE_ACCOUNT),
    waypoint: isUnusable
      ? { state: "unusable", waypoint: wanted.waypoint, reason: wanted.reason! }
      : decodeBinding(message.waypoint, wanted),
    node: message.node,
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    workloadType: nameOf(WorkloadType, message.workloadType, "workload_type"),
    workloadName: message.workloadName,
    clusterId: message.clusterId || CLUSTER,
    locality: locality && {
      region: locality.region,
      zone: locality.zone,
      subzone: locality.subzone,
    },
    status: nameOf(WorkloadStatus, message.status, "status"),
    services: new Map(Object.entries(message.services).map(decodePorts)),
    authorizationPolicies: message.authorizationPolicies,
    waypointInstanceOf: origin?.waypointInstanceOf,
    source: origin?.source ?? { kind: "Pod", namespace, name },
    ...(isHostNetwork && { isHostNetwork }),
    ...(message.nativeTunnel && { hasNativeTunnel: true }),
    ...(message.capacity !== undefined && { capacity: message.capacity }),
  };
}

function decodePorts([service, { ports }]: [string, PortList]): [string, Map<number, number>] {
  if (!service.includes("/")) throw new Error(`services: ${service} has no namespace`);
  const targets = new Map<number, number>();
  for (const { servicePort, targetPort } of ports) {
    targets.set(portOf(servicePort), portOf(targetPort));
  }
  return [service, targets];
}
