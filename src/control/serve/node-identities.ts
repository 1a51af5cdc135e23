/**
 * Which identities live on which node: what a node's proxy may ask certificates for.
 *
 * Brought up to date when somebody asks; that costs what has changed since then.
 */
import { differences } from "../../kit/sharded-map.ts";
import type { Identity } from "../../model/identity.ts";
import type { Index, SnapshotSource } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import type { Caller } from "./authenticator.ts";

export interface NodeIdentitySource {
  /** The node that the caller runs on; undefined: nobody knows. */
  nodeOf(caller: Caller): string | undefined;
  /** Whether anything on the node has that account. */
  has(node: string, identity: Identity): boolean;
}

/** From the workloads of a mesh. */
export class NodeIdentities implements NodeIdentitySource {
  readonly #snapshots: Pick<SnapshotSource, "current">;
  #seen: Pick<Index<Workload>, "get" | "entries"> = new Map();
  /** How many workloads are `node/namespace/service account`. */
  readonly #present = new Map<string, number>();
  /** Nodes of Pods, by `namespace/name/service account`. */
  readonly #nodes = new Map<string, string>();

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
    for (const [uid, workload] of differences(this.#seen, workloads)) {
      const before = this.#seen.get(uid);
      if (before !== undefined) this.#count(before, -1);
      if (workload !== undefined) this.#count(workload, 1);
    }
    this.#seen = workloads;
  }

  #count(workload: Workload, difference: number): void {
    const { node, namespace, name, serviceAccount, source } = workload;
    if (node === "") return;
    const key = `${node}/${namespace}/${serviceAccount}`;
    const count = (this.#present.get(key) ?? 0) + difference;
    if (count === 0) this.#present.delete(key);
    else this.#present.set(key, count);
    if (source.kind !== "Pod") return;
    const pod = podKey(namespace, name, serviceAccount);
    if (difference > 0) this.#nodes.set(pod, node);
    else this.#nodes.delete(pod);
  }
}

function podKey(namespace: string, name: string, serviceAccount: string): string {
  return `${namespace}/${name}/${serviceAccount}`;
}
