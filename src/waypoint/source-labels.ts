/** Who and where a client is: the workload at its address, and the identity it proved. */
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { type PeerLabels, peerLabels } from "../telemetry/istio-metrics.ts";

export function sourceOf(snapshot: Snapshot, connection: TunnelConnection): Workload | undefined {
  const uid = snapshot.addresses.get(connection.remoteAddress)?.workloads[0];
  return uid === undefined ? undefined : snapshot.workloads.get(uid);
}

/** Who it is in metrics. */
export function labelsOf(snapshot: Snapshot, connection: TunnelConnection): PeerLabels {
  return peerLabels(sourceOf(snapshot, connection), connection.peer);
}
