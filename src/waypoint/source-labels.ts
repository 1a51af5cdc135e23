/** Who a client is in metrics: the workload at its address, and the identity it proved. */
import type { Snapshot } from "../model/snapshot.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { type PeerLabels, peerLabels } from "../telemetry/istio-metrics.ts";

export function labelsOf(snapshot: Snapshot, connection: TunnelConnection): PeerLabels {
  const uid = snapshot.addresses.get(connection.remoteAddress)?.workloads[0];
  const workload = uid === undefined ? undefined : snapshot.workloads.get(uid);
  return peerLabels(workload, connection.peer);
}
