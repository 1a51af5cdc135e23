/**
 * What the parts of one waypoint share: the snapshot in force, the clusters, the way upstream, and
 * where things are counted and recorded.
 */

import type { DecisionPayload } from "../agent/decision-record.ts";
import type { Deadlines } from "../kit/deadlines.ts";
import type { SnapshotSource } from "../model/snapshot.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import type { DecisionLog } from "../telemetry/decision-log.ts";
import type { RequestMetrics, TcpMetrics } from "../telemetry/istio-metrics.ts";
import type { LimitsReached } from "../telemetry/limits-reached.ts";
import type { Gauge } from "../telemetry/metrics.ts";
import type { PeerErrors } from "../telemetry/peer-errors.ts";
import type { ShadowMetrics } from "../telemetry/shadow-metrics.ts";
import type { Clusters } from "./cluster.ts";
import type { Dialer } from "./dial.ts";
import type { Exchange } from "./exchange.ts";
import type { KeptBytes } from "./kept-body.ts";
import type { WaypointLimits } from "./limits.ts";
import type { LocalReply } from "./local-replies.ts";
import type { RetryReason } from "./retry.ts";

/** A session that can be asked to end. */
export interface Drainable {
  /** Ends with what it has in hand; where that is nothing, after the grace. Callable again. */
  drain(graceMs: number): void;
}

export interface WaypointContext {
  /** `<namespace>/<name>` of the Gateway. */
  readonly waypoint: string;
  readonly snapshots: SnapshotSource;
  readonly limits: WaypointLimits;
  /** When requests in progress are looked at for whether anything moves. */
  readonly stalls: Deadlines;
  readonly clusters: Clusters;
  /** Bodies of requests that are kept for another attempt. */
  readonly keptBytes: KeptBytes;
  readonly dialer: Pick<Dialer, "dial">;
  readonly accessLog: AccessLog;
  readonly decisions: DecisionLog<DecisionPayload>;
  readonly requests: RequestMetrics;
  readonly tcp: TcpMetrics;
  /** Of AUDIT policies and dry runs. */
  readonly shadows: ShadowMetrics;
  readonly activeRequests: Gauge;
  readonly limitsReached: LimitsReached;
  /** A request is sent once more, because of what befell it. */
  countRetry(reason: RetryReason): void;
  /** Something that was silent for too long was closed: `http1`, `http2`, `tcp`, `unknown` */
  countTimeout(what: string): void;
  /** Requests refused before they were one (malformed heads): by status. */
  countRefused(reply: LocalReply): void;
  /** How a mirrored request has ended. */
  countMirrored(result: string): void;
  readonly sessions: Set<Drainable>;
  readonly isDraining: boolean;
  readonly peerErrors: PeerErrors;
  /** stages/forward.ts, for another attempt. */
  forward(exchange: Exchange): boolean;
}
