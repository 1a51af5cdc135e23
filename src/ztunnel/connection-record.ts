/**
 * One connection in metrics and in the access log, as ztunnel writes them.
 */
import type { Service } from "../model/service.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import {
  destinationLabels,
  peerLabels,
  type SecurityPolicy,
  type TcpSeries,
} from "../telemetry/istio-metrics.ts";
import type { ZtunnelContext } from "./context.ts";

export type Direction = "inbound" | "outbound";

export interface ConnectionParties {
  readonly direction: Direction;
  readonly source: Workload | undefined;
  readonly sourceAddress: string;
  /** The identity that was proven, on inbound; the client's own, on outbound. */
  readonly sourceIdentity: string | undefined;
  readonly destination: Workload | undefined;
  readonly destinationAddress: string;
  readonly service: Service | undefined;
  /** Where the tunnel goes, when there is one. */
  readonly hboneAddress: string | undefined;
}

export class ConnectionRecord {
  readonly #context: ZtunnelContext;
  readonly #parties: ConnectionParties;
  readonly #startMs: number;
  #series: TcpSeries | undefined;

  constructor(context: ZtunnelContext, parties: ConnectionParties, startMs = performance.now()) {
    this.#context = context;
    this.#parties = parties;
    this.#startMs = startMs;
  }

  opened(): void {
    this.#series = this.#seriesWith("");
    this.#series.opened();
    this.#context.accessLog.debug(this.#fields(), "connection opened");
  }

  /** `sent`: towards the client. With an error the line is one of level error, as ztunnel's. */
  closed(sent: number, received: number, error: string | undefined): void {
    const series = this.#series;
    if (series === undefined) return;
    series.sent(sent);
    series.received(received);
    series.closed();
    const fields = { ...this.#fields(), bytes_sent: sent, bytes_recv: received };
    const duration = this.#duration();
    const { accessLog } = this.#context;
    if (error === undefined) accessLog.info({ ...fields, duration }, "connection complete");
    else accessLog.error({ ...fields, duration, error }, "connection complete");
  }

  /** Refused or could not be opened. `flags` as ztunnel has them: DENY, CONNECT, TLS_FAILURE … */
  failed(flags: string, error: string): void {
    this.#seriesWith(flags).failed();
    this.#context.accessLog.info(
      { ...this.#fields(), duration: this.#duration(), error },
      "connection failed",
    );
  }

  #duration(): string {
    return `${Math.round(performance.now() - this.#startMs)}ms`;
  }

  #seriesWith(flags: string): TcpSeries {
    const { direction, source, sourceIdentity, destination, service, hboneAddress } = this.#parties;
    const isTunnel = hboneAddress !== undefined;
    const security: SecurityPolicy = isTunnel ? "mutual_tls" : "unknown";
    const principal = isTunnel && destination ? workloadIdentity(destination) : undefined;
    return this.#context.tcp.series(
      direction === "outbound" ? "source" : "destination",
      peerLabels(source, isTunnel ? sourceIdentity : undefined),
      destinationLabels(destination, service, principal),
      flags,
      security,
    );
  }

  #fields(): Record<string, string | undefined> {
    const { direction, source, destination, service } = this.#parties;
    return {
      "src.addr": this.#parties.sourceAddress,
      "src.workload": source?.name,
      "src.namespace": source?.namespace,
      "src.identity": this.#parties.sourceIdentity,
      "src.cluster": source?.clusterId,
      "dst.addr": this.#parties.destinationAddress,
      "dst.hbone_addr": this.#parties.hboneAddress,
      "dst.service": service?.hostname,
      "dst.workload": destination?.name,
      "dst.namespace": destination?.namespace,
      "dst.identity": destination && workloadIdentity(destination),
      "dst.cluster": destination?.clusterId,
      direction,
    };
  }
}
