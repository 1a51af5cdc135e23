/**
 * What Kubernetes' controllers, and Istio's gateway controller, would make of one object: Pods for
 * a Deployment, a Pod, Service and ServiceAccount for a waypoint. Pure functions from plain JSON to
 * plain JSON; `cluster.ts` decides when they run.
 *
 * Names of Pods look like Kubernetes' (`reviews-v1-6c9f8d7b5c-x2x7p`), but follow from the owner's
 * name alone, so that they, and the addresses that follow from them, survive a restart.
 */
import { createHash } from "node:crypto";
import type { KubeObject } from "../api/object.ts";

/** GatewayClass of waypoints, as Istio's control plane creates it. */
const WAYPOINT_CLASS = "istio-waypoint";
const WAYPOINT_CONTROLLER = "istio.io/mesh-controller";
const MANAGED_BY = "istio.io-mesh-controller";
const GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name";
const GATEWAY_CLASS_LABEL = "gateway.networking.k8s.io/gateway-class-name";

type Json = { readonly [key: string]: unknown };

/** Kinds that own Pods. CronJobs are left out: here no hour ever comes. */
export const POD_OWNERS: ReadonlySet<string> = new Set([
  "Deployment",
  "ReplicaSet",
  "StatefulSet",
  "DaemonSet",
  "Job",
]);

/** The Pods that an owner's controller would start. Without `status.podIP`. */
export function podsOf(owner: KubeObject): KubeObject[] {
  const spec = record(owner.spec);
  const template = record(spec.template);
  const pods: KubeObject[] = [];
  for (let index = 0; index < replicasOf(owner.kind, spec); index++) {
    pods.push(podOf(owner, template, index));
  }
  return pods;
}

function replicasOf(kind: string, spec: Json): number {
  const wanted = kind === "Job" ? spec.parallelism : spec.replicas;
  if (kind === "DaemonSet" || typeof wanted !== "number") return 1;
  return Math.max(0, Math.trunc(wanted));
}

function podOf(owner: KubeObject, template: Json, index: number): KubeObject {
  const { name, namespace = "default" } = owner.metadata;
  const templateMeta = record(template.metadata);
  const spec = record(template.spec);
  const naming = podNaming(owner.kind, namespace, name, index);
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: naming.name,
      namespace,
      labels: { ...strings(templateMeta.labels), ...naming.labels },
      ...("annotations" in templateMeta ? { annotations: strings(templateMeta.annotations) } : {}),
      ownerReferences: [
        {
          apiVersion: naming.ownerKind === owner.kind ? owner.apiVersion : "apps/v1",
          kind: naming.ownerKind,
          name: naming.ownerName,
          uid: `${namespace}/${naming.ownerName}`,
          controller: true,
        },
      ],
    },
    spec: { serviceAccountName: "default", ...spec },
    status: runningStatus(undefined),
  };
}

interface PodNaming {
  readonly name: string;
  readonly ownerKind: string;
  readonly ownerName: string;
  readonly labels: Readonly<Record<string, string>>;
}

function podNaming(kind: string, namespace: string, name: string, index: number): PodNaming {
  const suffix = letters(`${kind}/${namespace}/${name}/${index}`, 5);
  switch (kind) {
    case "Deployment": {
      // Between a Deployment and its Pods stands a ReplicaSet; Istio finds the name by this label.
      const hash = letters(`${kind}/${namespace}/${name}`, 10);
      const ownerName = `${name}-${hash}`;
      const labels = { "pod-template-hash": hash };
      return { name: `${ownerName}-${suffix}`, ownerKind: "ReplicaSet", ownerName, labels };
    }
    case "StatefulSet": {
      const pod = `${name}-${index}`;
      const labels = {
        "statefulset.kubernetes.io/pod-name": pod,
        "apps.kubernetes.io/pod-index": String(index),
      };
      return { name: pod, ownerKind: kind, ownerName: name, labels };
    }
    case "Job":
      return {
        name: `${name}-${suffix}`,
        ownerKind: kind,
        ownerName: name,
        labels: { "batch.kubernetes.io/job-name": name, "job-name": name },
      };
    default:
      return { name: `${name}-${suffix}`, ownerKind: kind, ownerName: name, labels: {} };
  }
}

/** A running, ready Pod at that address. What the file says beyond the address is kept. */
export function runningStatus(podIp: string | undefined, declared?: unknown): Json {
  const before = record(declared);
  const addresses = podIp === undefined ? {} : { podIP: podIp, podIPs: [{ ip: podIp }] };
  return {
    phase: "Running",
    conditions: [{ type: "Ready", status: "True" }],
    ...before,
    ...addresses,
  };
}

/** Somebody else runs what is behind it. */
export function hasOwnAddresses(gateway: KubeObject): boolean {
  const { addresses } = record(gateway.spec);
  return Array.isArray(addresses) && addresses.length > 0;
}

/** The waypoint of a Gateway: Pod, Service and ServiceAccount, all without addresses. */
export function waypointObjects(gateway: KubeObject): KubeObject[] {
  const { name, namespace = "default" } = gateway.metadata;
  const labels = {
    ...ownLabels(gateway),
    [GATEWAY_NAME_LABEL]: name,
    [GATEWAY_CLASS_LABEL]: String(record(gateway.spec).gatewayClassName),
    "gateway.istio.io/managed": MANAGED_BY,
  };
  const owner = {
    apiVersion: gateway.apiVersion,
    kind: "Gateway",
    name,
    uid: `${namespace}/${name}`,
    controller: true,
  };
  const account = gateway.metadata.annotations?.["gateway.istio.io/service-account"] ?? name;
  const metadata = { name, namespace, labels, ownerReferences: [owner] };
  const deployment: KubeObject = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: {
      template: {
        metadata: {
          labels: {
            ...labels,
            "istio.io/dataplane-mode": "none",
            "sidecar.istio.io/inject": "false",
            "service.istio.io/canonical-name": name,
            "service.istio.io/canonical-revision": "latest",
          },
        },
        spec: {
          serviceAccountName: account,
          containers: [{ name: "istio-proxy", ports: [{ name: "mesh", containerPort: 15008 }] }],
        },
      },
    },
  };
  const service: KubeObject = {
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: {
      type: "ClusterIP",
      selector: { [GATEWAY_NAME_LABEL]: name },
      ports: [{ name: "mesh", port: 15008, appProtocol: "hbone", protocol: "TCP" }],
    },
  };
  const serviceAccount: KubeObject = {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { ...metadata, name: account },
  };
  return [...podsOf(deployment), service, serviceAccount];
}

/** The Gateway's labels are copied to what is made for it, but those of the Gateway API. */
function ownLabels(gateway: KubeObject): Record<string, string> {
  const labels = Object.entries(strings(gateway.metadata.labels));
  return Object.fromEntries(labels.filter(([k]) => !k.startsWith("gateway.networking.k8s.io/")));
}

/** `status.addresses` of a programmed waypoint: its host name and its address. */
export function waypointStatus(hostname: string, address: string, declared: unknown): Json {
  return {
    ...record(declared),
    addresses: [
      { type: "Hostname", value: hostname },
      { type: "IPAddress", value: address },
    ],
  };
}

/** A namespace that objects name and no file declares is in the mesh. */
export function undeclaredNamespace(name: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: {
      name,
      labels: { "kubernetes.io/metadata.name": name, "istio.io/dataplane-mode": "ambient" },
    },
  };
}

/** The class that every mesh has. */
export function waypointClass(): KubeObject {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "GatewayClass",
    metadata: { name: WAYPOINT_CLASS },
    spec: { controllerName: WAYPOINT_CONTROLLER },
    status: { conditions: [{ type: "Accepted", status: "True", reason: "Accepted" }] },
  };
}

/** Kubernetes' alphabet for generated names: no vowels, nothing that looks like something else. */
const ALPHABET = "bcdfghjklmnpqrstvwxz2456789";

function letters(seed: string, count: number): string {
  const bytes = createHash("sha256").update(seed).digest();
  let text = "";
  for (let i = 0; i < count; i++) text += ALPHABET[bytes[i]! % ALPHABET.length];
  return text;
}

/** The value as an object; an empty one when it is none. */
export function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Json)
    : {};
}

function strings(value: unknown): Record<string, string> {
  return Object.fromEntries(Object.entries(record(value)).map(([k, v]) => [k, String(v)]));
}
