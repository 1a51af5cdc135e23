/**
 * What a Pod's status and labels say: whether it lives, where, as whom, and for what.
 */
import type { Pod } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import { formatIdentity } from "../model/identity.ts";
import { canonicalAddress } from "./cidr.ts";
import { labelsOf, nameOf, namespaceOf } from "./object-names.ts";

/** It has run to its end and has no address any more. */
export function isTerminal(pod: ParsedObject<Pod>): boolean {
  const phase = pod.value.status?.phase;
  return phase === "Succeeded" || phase === "Failed";
}

/** Ready, and not on its way out. */
export function isHealthy(pod: ParsedObject<Pod>): boolean {
  if (pod.value.metadata.deletionTimestamp != null) return false;
  const conditions = pod.value.status?.conditions ?? [];
  return conditions.some(({ type, status }) => type === "Ready" && status === "True");
}

export function addressesOf(pod: ParsedObject<Pod>): readonly string[] {
  const { podIP, podIPs } = pod.value.status ?? {};
  const listed = (podIPs ?? []).flatMap(({ ip }) => (ip ? [ip] : []));
  if (listed.length === 0 && podIP) listed.push(podIP);
  return listed.map(canonicalAddress);
}

/** None while it has no life, or shares its node's. */
export function ownAddressesOf(pod: ParsedObject<Pod>): readonly string[] {
  return isTerminal(pod) || pod.value.spec?.hostNetwork === true ? [] : addressesOf(pod);
}

/** Of one namespace: nobody lists the Pods of another one among his endpoints. */
export function addressKey(namespace: string, address: string): string {
  return `${namespace} ${address}`;
}

export function serviceAccountOf(pod: ParsedObject<Pod>): string {
  return pod.value.spec?.serviceAccountName || "default";
}

export function identityOf(pod: ParsedObject<Pod>, trustDomain: string): string {
  const serviceAccount = serviceAccountOf(pod);
  return formatIdentity({ trustDomain, namespace: namespaceOf(pod), serviceAccount });
}

/**
 * Name of what owns the Pod, as Istio has it: a ReplicaSet's Deployment by the hash that Kubernetes
 * adds to its name, a CronJob by the number of its Job.
 */
export function workloadNameOf(pod: ParsedObject<Pod>): string {
  const owners = pod.value.metadata.ownerReferences ?? [];
  const owner = owners.find(({ controller }) => controller === true) ?? owners[0];
  if (owner === undefined) return nameOf(pod);
  const hash = labelsOf(pod)["pod-template-hash"];
  if (owner.kind === "ReplicaSet" && hash !== undefined && owner.name.endsWith(`-${hash}`)) {
    return owner.name.slice(0, -hash.length - 1);
  }
  const ofCronJob = owner.kind === "Job" ? /^(.+)-\d{8,10}$/.exec(owner.name) : null;
  return ofCronJob?.[1] ?? owner.name;
}
