/**
 * Inbound connections that are open, by the workload they end at, so that they can be judged again
 * when policy changes (D2): a connection that would no longer be let in is cut.
 */
import type { Snapshot } from "../model/snapshot.ts";
import { type L4Decider, l4Decider } from "../policy/decider.ts";
import type { ConnectionFacts } from "../policy/facts.ts";
import type { CutReason } from "./ztunnel-metrics.ts";

export interface OpenConnection {
  readonly facts: ConnectionFacts;
  /** Policy no longer admits it, or its workload is gone. */
  cut(because: string, cause: CutReason): void;
}

interface Group {
  decider: L4Decider;
  readonly connections: Set<OpenConnection>;
}

export class OpenConnections {
  readonly #byWorkload = new Map<string, Group>();

  add(uid: string, decider: L4Decider, connection: OpenConnection): void {
    let group = this.#byWorkload.get(uid);
    if (group === undefined) {
      group = { decider, connections: new Set() };
      this.#byWorkload.set(uid, group);
    }
    group.connections.add(connection);
  }

  remove(uid: string, connection: OpenConnection): void {
    const group = this.#byWorkload.get(uid);
    if (group === undefined) return;
    group.connections.delete(connection);
    if (group.connections.size === 0) this.#byWorkload.delete(uid);
  }

  get size(): number {
    let size = 0;
    for (const group of this.#byWorkload.values()) size += group.connections.size;
    return size;
  }

  /** Judges again what the new snapshot judges by other policies than before. */
  judgeAgain(snapshot: Snapshot): void {
    for (const [uid, group] of this.#byWorkload) {
      const workload = snapshot.workloads.get(uid);
      if (workload === undefined) {
        for (const connection of [...group.connections])
          connection.cut("the workload is gone", "workload_gone");
        continue;
      }
      const decider = l4Decider(snapshot, workload);
      if (decider === group.decider) continue;
      group.decider = decider;
      for (const connection of [...group.connections]) {
        const verdict = decider.authorize(connection.facts);
        if (!verdict.isAllowed) connection.cut(denial(verdict), "policy");
      }
    }
  }
}

/** The reason in ztunnel's words. */
export function denial(verdict: { because: string; policy: string | undefined }): string {
  return verdict.policy === undefined
    ? "allow policies exist, but none allowed"
    : `explicitly denied by: ${verdict.policy}`;
}
