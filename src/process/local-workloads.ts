/**
 * The workloads of one node: which tunnel ports its ztunnel listens on, and whose certificates it
 * holds. A change of the mesh costs what is different in it, not what the mesh has.
 */
import type { CertificateSource } from "../agent/certificates.ts";
import { differences } from "../kit/sharded-map.ts";
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
  #seen: Pick<Index<Workload>, "get" | "entries"> = new Map();
  /** By uid. */
  readonly #served = new Map<string, Workload>();
  #identities: ReadonlySet<string> = new Set();

  constructor(node: string, certificates: CertificateSource) {
    this.#node = node;
    this.#certificates = certificates;
  }

  get identities(): ReadonlySet<string> {
    return this.#identities;
  }

  /** False: nothing here is different. Obtains certificates ahead, and lets go of old ones. */
  refresh(snapshot: Snapshot): boolean {
    const changes = differences(this.#seen, snapshot.workloads);
    this.#seen = snapshot.workloads;
    let isSame = true;
    for (const [uid, workload] of changes) {
      const isServed = workload !== undefined && this.#isServed(workload);
      if (isServed) this.#served.set(uid, workload);
      else if (!this.#served.delete(uid)) continue;
      isSame = false;
    }
    if (isSame) return false;
    const before = this.#identities;
    this.#identities = new Set([...this.#served.values()].map(workloadIdentity));
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
    return [...this.#served.values()].flatMap((workload) =>
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
