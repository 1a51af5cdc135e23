/**
 * What is kept of an object: the fields that a mesh reads, so that memory is bounded by what the
 * mesh is and not by what others write into objects. Of a Pod that is about a tenth.
 *
 * The tables have to name every field of the types in api/core.ts: a field that is added there and
 * forgotten here does not compile.
 */
import type {
  Condition,
  Container,
  ContainerPort,
  EndpointSlice,
  Pod,
  PodSpec,
} from "../../../api/core.ts";
import { isBuiltIn, type KindName } from "../../../api/kinds.ts";
import type { KubeObject, ObjectMeta, OwnerReference } from "../../../api/object.ts";

type Json = Readonly<Record<string, unknown>>;
type Keep = (value: never) => unknown;
type Fields<T> = { readonly [K in keyof Required<T>]: true | Keep };

const whole = true;

function kept<T>(fields: Fields<T>): (value: unknown) => unknown {
  const entries = Object.entries(fields) as [string, true | ((value: unknown) => unknown)][];
  return (value) => {
    if (typeof value !== "object" || value === null) return undefined;
    const picked: Record<string, unknown> = {};
    for (const [name, keep] of entries) {
      const inner = (value as Json)[name];
      if (inner === undefined || inner === null) continue;
      const part = keep === whole ? inner : keep(inner as never);
      if (part !== undefined) picked[name] = part;
    }
    return picked;
  };
}

function each(keep: (value: unknown) => unknown): (values: unknown) => unknown {
  return (values) => (Array.isArray(values) ? values.map(keep) : undefined);
}

/** A copy of the whole object, for kubectl alone. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

function withoutLastApplied(annotations: Json): unknown {
  if (!(LAST_APPLIED in annotations)) return annotations;
  const { [LAST_APPLIED]: _applied, ...others } = annotations;
  return Object.keys(others).length === 0 ? undefined : others;
}

const ownerReference = kept<OwnerReference>({
  apiVersion: whole,
  kind: whole,
  name: whole,
  uid: whole,
  controller: whole,
});

const metadata = kept<ObjectMeta>({
  name: whole,
  namespace: whole,
  labels: whole,
  annotations: withoutLastApplied,
  creationTimestamp: whole,
  deletionTimestamp: whole,
  generation: whole,
  uid: whole,
  ownerReferences: each(ownerReference),
});

const containerPort = kept<ContainerPort>({ name: whole, containerPort: whole, protocol: whole });
const container = kept<Container>({ name: whole, ports: each(containerPort) });

const podSpec = kept<PodSpec>({
  serviceAccountName: whole,
  nodeName: whole,
  hostNetwork: whole,
  containers: each(container),
  initContainers: each(container),
});

/** Times of probes would make a change of every Pod every few seconds. */
const condition = kept<Condition>({ type: whole, status: whole });

const podStatus = kept<NonNullable<Pod["status"]>>({
  phase: whole,
  podIP: whole,
  podIPs: whole,
  conditions: each(condition),
});

type Endpoint = NonNullable<EndpointSlice["endpoints"]>[number];
type SlicePort = NonNullable<EndpointSlice["ports"]>[number];

const endpoint = kept<Endpoint>({
  addresses: whole,
  conditions: kept<NonNullable<Endpoint["conditions"]>>({ ready: whole }),
  targetRef: kept<NonNullable<Endpoint["targetRef"]>>({
    kind: whole,
    name: whole,
    namespace: whole,
  }),
  nodeName: whole,
});

const slicePort = kept<SlicePort>({ name: whole, port: whole, protocol: whole });

type Parts = Readonly<Record<string, true | Keep>>;

/** Beside the metadata. */
const PARTS: Partial<Record<KindName, (object: unknown) => unknown>> = {
  EndpointSlice: kept<Parts>({
    addressType: whole,
    endpoints: each(endpoint),
    ports: each(slicePort),
  }),
  Namespace: kept<Parts>({}),
  Node: kept<Parts>({}),
  Pod: kept<Parts>({ spec: podSpec, status: podStatus }),
};

/** Of the other built-in kinds: not the status. */
const specAndData = kept<Parts>({ spec: whole, data: whole });

/** What is read of a status that others write: addresses that were assigned. */
const READ_STATUSES: ReadonlySet<KindName> = new Set(["Gateway", "ServiceEntry"]);
const readStatus = kept<Parts>({ addresses: whole });

const conditions = kept<Parts>({ conditions: whole });

/** Whose status the control plane writes, and what it has to know of it then. */
const WRITTEN_STATUSES: Partial<Record<KindName, true | Keep>> = {
  AuthorizationPolicy: whole,
  GRPCRoute: whole,
  Gateway: whole,
  GatewayClass: whole,
  HTTPRoute: whole,
  Service: conditions,
  ServiceEntry: conditions,
  TCPRoute: whole,
  TLSRoute: whole,
};

/** The status as it stands, of kinds whose status is written; it is no part of what they mean. */
export function observedStatus(kind: KindName, { status }: KubeObject): unknown {
  const keep = WRITTEN_STATUSES[kind];
  return typeof keep === "function" ? keep(status as never) : keep && status;
}

/** The object of that kind without what no mesh reads. Lists leave its kind and version out. */
export function neededFields(
  kind: KindName,
  object: KubeObject,
  { apiVersion, kind: spelling }: Pick<KubeObject, "apiVersion" | "kind">,
): KubeObject {
  const value = { apiVersion, kind: spelling, metadata: metadata(object.metadata) };
  if (!isBuiltIn(kind)) {
    const { apiVersion: _version, kind: _kind, metadata: _metadata, status, ...parts } = object;
    const read = READ_STATUSES.has(kind) ? readStatus(status) : undefined;
    return { ...parts, ...(read ? { status: read } : {}), ...value } as KubeObject;
  }
  const parts = (PARTS[kind] ?? specAndData)(object);
  return { ...(parts as object), ...value } as KubeObject;
}
