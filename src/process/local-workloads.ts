/**
 * The workloads of one node: which tunnel ports its ztunnel listens on, and whose certificates it
 * holds. Looked up anew when the workloads have changed.
 */
import type { CertificateSource } from "../agent/certificates.ts";
import type { Index, Snapshot } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { HBONE_PORT } from "../policy/next-hop.ts";
import { ownAddress } from "./own-address.ts";

export interface TunnelPort {
  readonly address: string;
  readonly port: number;
  readonly purpose: string;
  /** uid. */
  readonly workload: string;
}

export class LocalWorkloads {
  readonly #node: string;
  readonly #certificates: CertificateSource;
  #seen: Index<Workload> | undefined;
  #all: readonly Workload[] = [];
  #identities: ReadonlySet<string> = new Set();

  constructor(node: string, certificates: CertificateSource) {
    this.#node = node;
    this.#certificates = certificates;
  }

  get all(): readonly Workload[] {
    return this.#all;
  }

  get identities(): ReadonlySet<string> {
    return this.#identities;
  }

  /** False: nothing here is different. Obtains certificates ahead, and lets go of old ones. */
  refresh(snapshot: Snapshot): boolean {
    if (snapshot.workloads === this.#seen) return false;
    this.#seen = snapshot.workloads;
    const all = [...snapshot.workloads.values()].filter((workload) => this.#isServed(workload));
    const isSame =
      all.length === this.#all.length && all.every((workload, i) => workload === this.#all[i]);
    if (isSame) return false;
    this.#all = all;
    const before = this.#identities;
    this.#identities = new Set(all.map(workloadIdentity));
    for (const spiffeId of this.#identities) {
      // A failure is told and retried there.
      if (!before.has(spiffeId)) this.#certificates.get(spiffeId).catch(() => {});
    }
    for (const spiffeId of before) {
      if (!this.#identities.has(spiffeId)) this.#certificates.release(spiffeId);
    }
    return true;
  }

  /** Where tunnels to them come in: at their addresses, as far as this machine has them. */
  tunnelPorts(): readonly TunnelPort[] {
    return this.#all.flatMap((workload) =>
      workload.addresses
        .filter((address) => ownAddress(address) !== undefined)
        .map((address) => ({
          address,
          port: HBONE_PORT,
          purpose: `workload ${workload.namespace}/${workload.name}`,
          workload: workload.uid,
        })),
    );
  }

  /** A waypoint ends its tunnels itself; what is outside the mesh has none. */
  #isServed({ node, tunnelProtocol, waypointInstanceOf }: Workload): boolean {
    const isHere = node === this.#node && waypointInstanceOf === undefined;
    return isHere && tunnelProtocol === "HBONE";
  }
}
