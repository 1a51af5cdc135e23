/**
 * Which identities live on which node of a cluster, from its Pods: also those that are not in the
 * mesh, as ztunnel's own are, or have no address yet.
 *
 * Istiod's rule (protocols.md §2), and stricter in one thing: a Pod that has ended, well or badly,
 * lends its identity to nobody.
 */
import type { Pod } from "../../api/core.ts";
import type { ObjectChange, ParsedObject } from "../../api/object.ts";
import type { Identity } from "../../model/identity.ts";
import { isTerminal } from "../../translate/pods.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { Caller } from "./authenticator.ts";
import type { NodeIdentitySource } from "./node-identities.ts";

interface Known {
  readonly uid: string | undefined;
  readonly serviceAccount: string;
  /** `undefined` while it is not scheduled, and when it has ended. */
  readonly node: string | undefined;
}

export class PodIdentities implements NodeIdentitySource {
  /** By `namespace/name`. */
  readonly #pods = new Map<string, Known>();
  /** How many Pods are `node/namespace/service account`. */
  readonly #present = new Map<string, number>();

  /** Follows the control plane's Pods from now on. */
  constructor(control: Pick<ControlPlane, "objects" | "onChange">) {
    for (const [key, pod] of control.objects<Pod>("Pod")) this.#set(key, known(pod));
    control.onChange((change) => this.#onChange(change));
  }

  nodeOf({ namespace, serviceAccount, podName, podUid }: Caller): string | undefined {
    if (podName === undefined || podUid === undefined) return undefined;
    const pod = this.#pods.get(`${namespace}/${podName}`);
    const isSame = pod?.uid === podUid && pod.serviceAccount === serviceAccount;
    return isSame ? pod.node : undefined;
  }

  has(node: string, { namespace, serviceAccount }: Identity): boolean {
    return this.#present.has(`${node}/${namespace}/${serviceAccount}`);
  }

  #onChange({ upserted, removed }: ObjectChange): void {
    for (const object of upserted) {
      if (object.kind !== "Pod") continue;
      const { namespace, name } = object.value.metadata;
      this.#set(`${namespace}/${name}`, known(object as ParsedObject as ParsedObject<Pod>));
    }
    for (const { kind, namespace, name } of removed) {
      if (kind === "Pod") this.#set(`${namespace}/${name}`, undefined);
    }
  }

  #set(key: string, now: Known | undefined): void {
    const namespace = key.slice(0, key.indexOf("/"));
    this.#count(namespace, this.#pods.get(key), -1);
    this.#count(namespace, now, 1);
    if (now === undefined) this.#pods.delete(key);
    else this.#pods.set(key, now);
  }

  #count(namespace: string, pod: Known | undefined, difference: number): void {
    if (pod?.node === undefined) return;
    const key = `${pod.node}/${namespace}/${pod.serviceAccount}`;
    const count = (this.#present.get(key) ?? 0) + difference;
    if (count === 0) this.#present.delete(key);
    else this.#present.set(key, count);
  }
}

function known(pod: ParsedObject<Pod>): Known {
  const { metadata, spec } = pod.value;
  const { nodeName, serviceAccountName } = spec ?? {};
  return {
    uid: metadata.uid,
    serviceAccount: serviceAccountName || "default",
    node: isTerminal(pod) ? undefined : nodeName || undefined,
  };
}
