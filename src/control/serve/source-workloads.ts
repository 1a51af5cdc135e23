/**
 * Every workload as a client: what a waypoint says of whoever connects to it (labels of metrics and
 * logs, and the place that nearness is judged by), and nothing of what it serves or who may reach
 * it. So a waypoint knows any client at once, and readiness, policies and bindings of workloads
 * that are none of its own are not sent to it.
 *
 * They are ordinary Address resources under the workload's own name, with a third of the content;
 * where a waypoint needs all of a workload, that takes its place. Encoded once, for all waypoints.
 */
import type { Index } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import { encodeSourceAddress } from "../../wire/address.ts";
import { contentVersion, ResourceDigest } from "../../wire/digest.ts";
import { type EncodedResource, RESOURCE_TYPES } from "../../wire/resource.ts";

const { address: type } = RESOURCE_TYPES;

export interface ResourceChange {
  readonly before: EncodedResource | undefined;
  readonly after: EncodedResource | undefined;
}

export class SourceWorkloads {
  readonly #resources = new Map<string, EncodedResource>();
  readonly digest = new ResourceDigest();

  constructor(workloads: Index<Workload>) {
    this.take(workloads.entries());
  }

  get resources(): ReadonlyMap<string, EncodedResource> {
    return this.#resources;
  }

  /** What becomes of workloads that are different now, by uid; undefined: it is gone. */
  take(
    workloads: Iterable<readonly [string, Workload | undefined]>,
  ): ReadonlyMap<string, ResourceChange> {
    const changes = new Map<string, ResourceChange>();
    for (const [name, workload] of workloads) {
      const before = this.#resources.get(name);
      const after = workload && isClient(workload) ? encoded(name, workload) : undefined;
      if (before?.version === after?.version) continue;
      if (before !== undefined) this.digest.remove(type, name, before.version);
      if (after === undefined) this.#resources.delete(name);
      else {
        this.#resources.set(name, after);
        this.digest.add(type, name, after.version);
      }
      changes.set(name, { before, after });
    }
    return changes;
  }
}

/** Clients are known by their address. A node's tells nobody who is there. */
function isClient({ addresses, isHostNetwork }: Workload): boolean {
  return addresses.length > 0 && isHostNetwork !== true;
}

function encoded(name: string, workload: Workload): EncodedResource {
  const bytes = encodeSourceAddress(workload);
  return { type, name, version: contentVersion(bytes), bytes };
}
