/** What the parts of one ztunnel share. */
import type { CertificateSource } from "../agent/certificates.ts";
import type { DecisionPayload } from "../agent/decision-record.ts";
import type { Logger } from "../kit/log.ts";
import type { LogLimit } from "../kit/log-limit.ts";
import type { SnapshotSource } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import type { TunnelPool } from "../net/hbone/tunnel-pool.ts";
import type { DecisionLog } from "../telemetry/decision-log.ts";
import type { EventLog } from "../telemetry/event-log.ts";
import type { TcpMetrics } from "../telemetry/istio-metrics.ts";
import type { LimitsReached } from "../telemetry/limits-reached.ts";
import type { ShadowMetrics } from "../telemetry/shadow-metrics.ts";
import type { CarriedConnections } from "./carried-connections.ts";
import type { OpenConnections } from "./open-connections.ts";
import type { ZtunnelMetrics } from "./ztunnel-metrics.ts";

/** Where the application behind a workload's port really listens. */
export interface AppAddress {
  readonly host: string;
  readonly port: number;
  /** The address to dial from, so that the application sees its client; undefined: any. */
  readonly localAddress: string | undefined;
}

export interface ZtunnelContext {
  readonly snapshots: SnapshotSource;
  readonly certificates: CertificateSource;
  readonly pool: TunnelPool;
  readonly tcp: TcpMetrics;
  /** Of dry runs. */
  readonly shadows: ShadowMetrics;
  readonly metrics: ZtunnelMetrics;
  readonly limitsReached: LimitsReached;
  readonly decisions: DecisionLog<DecisionPayload>;
  /** Those that policy may cut. */
  readonly connections: OpenConnections;
  readonly carried: CarriedConnections;
  readonly log: Logger;
  /** Asked before a line that strangers can cause. */
  readonly logLimit: LogLimit;
  /** Access log lines: one a connection. */
  readonly accessLog: EventLog;
  /** Where tunnels to an address and port are to be dialled. */
  readonly tunnelAddress: (address: string, port: number) => { host: string; port: number };
  /** The address to dial from, for a workload's; undefined: any. */
  readonly dialFrom: (address: string) => string | undefined;
  readonly appAddress: (workload: Workload, port: number, sourceAddress: string) => AppAddress;
}
