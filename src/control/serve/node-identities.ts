/**
 * Which identities live on which node: what a node's proxy may ask certificates for.
 *
 * Kept as a set of `node/namespace/service account`, made anew when the workloads have changed and
 * somebody asks: certificates are asked for far less often than workloads change.
 */
import type { Identity } from "../../model/identity.ts";
import type { Index, SnapshotSource } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import type { Caller } from "./authenticator.ts";

export class NodeIdentities {
  readonly #snapshots: Pick<SnapshotSource, "current">;
  #workloads: Index<Workload> | undefined;
  #present = new Set<string>();
  /** `namespace/name/service account` of Pods → their node. */
  #nodes = new Map<string, string>();

  constructor(snapshots: Pick<SnapshotSource, "current">) {
    this.#snapshots = snapshots;
  }

  /** The node that the caller runs on: its token says so, or the mesh knows its Pod. */
  nodeOf(caller: Caller): string | undefined {
    if (caller.node !== undefined) return caller.node;
    if (caller.podName === undefined) return undefined;
    this.#refresh();
    return this.#nodes.get(podKey(caller.namespace, caller.podName, caller.serviceAccount));
  }

  has(node: string, { namespace, serviceAccount }: Identity): boolean {
    this.#refresh();
    return this.#present.has(`${node}/${namespace}/${serviceAccount}`);
  }

  #refresh(): void {
    const { workloads } = this.#snapshots.current;
    if (workloads === this.#workloads) return;
    this.#workloads = workloads;
    this.#present = new Set();
    this.#nodes = new Map();
    for (const { node, namespace, name, serviceAccount, source } of workloads.values()) {
      if (node === "") continue;
      this.#present.add(`${node}/${namespace}/${serviceAccount}`);
      if (source.kind === "Pod") this.#nodes.set(podKey(namespace, name, serviceAccount), node);
    }
  }
}

function podKey(namespace: string, name: string, serviceAccount: string): string {
  return `${namespace}/${name}/${serviceAccount}`;
}
