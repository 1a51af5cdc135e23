/**
 * One connection in metrics and in the access log, as Istio's ztunnel writes them: a line when it
 * ends, of level error when it ended badly or never stood, and a short one when it was turned away
 * before anything was known about it.
 */
import type { Service } from "../model/service.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import type { StreamReset } from "../net/byte-stream.ts";
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
  /** Where the connection or its tunnel goes. */
  readonly destinationAddress: string;
  readonly service: Service | undefined;
  /** The authority that a tunnel asks for, when there is one. */
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
    const { accessLog } = this.#context;
    if (accessLog.isLogged("debug")) accessLog.write("debug", "connection opened", this.#fields());
  }

  /** `sent`: towards the client. With an error the line is one of level error, as ztunnel's. */
  closed(sent: number, received: number, error: string | undefined): void {
    const series = this.#series;
    if (series === undefined) return;
    series.sent(sent);
    series.received(received);
    series.closed();
    this.#complete(sent, received, error);
  }

  /** Not let in, or it could not be opened. `flags`: ztunnel's (DENY, CONNECT, TLS_FAILURE …). */
  failed(flags: string, error: string): void {
    this.#seriesWith(flags).failed();
    this.#complete(0, 0, error);
  }

  /** Turned away at once, by whoever asks for what is not to be had: a few lines a second. */
  turnedAway(kind: string, error: string): void {
    this.#seriesWith("CONNECT").failed();
    const { sourceAddress, destinationAddress, direction } = this.#parties;
    logTurnedAway(this.#context, kind, { sourceAddress, destinationAddress, direction, error });
  }

  #complete(sent: number, received: number, error: string | undefined): void {
    const { accessLog } = this.#context;
    const level = error === undefined ? "info" : "error";
    if (!accessLog.isLogged(level)) return;
    // As the workload sees it that is served here: at its source, what goes to the client came in.
    const isSource = this.#parties.direction === "outbound";
    const fields = this.#fields();
    fields.bytes_sent = isSource ? received : sent;
    fields.bytes_recv = isSource ? sent : received;
    fields.duration = `${Math.trunc(performance.now() - this.#startMs)}ms`;
    fields.error = error;
    accessLog.write(level, "connection complete", fields);
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

  /** Those of the end have their place already: the object keeps its shape. */
  #fields(): Record<string, string | number | undefined> {
    const { direction, source, destination, service, hboneAddress } = this.#parties;
    const isTunnel = hboneAddress !== undefined;
    return {
      "src.addr": this.#parties.sourceAddress,
      "src.workload": source?.name,
      "src.namespace": source?.namespace,
      "src.identity": isTunnel ? this.#parties.sourceIdentity : undefined,
      "src.cluster": source?.clusterId,
      "dst.addr": this.#parties.destinationAddress,
      "dst.hbone_addr": hboneAddress,
      "dst.service": service?.hostname,
      "dst.workload": destination?.name,
      "dst.namespace": destination?.namespace,
      "dst.identity": isTunnel && destination ? workloadIdentity(destination) : undefined,
      "dst.cluster": destination?.clusterId,
      direction,
      ...NO_END,
    };
  }
}

/** How peers end connections any day: no error, as to ztunnel. */
const ORDINARY: ReadonlySet<string> = new Set([
  "RST_STREAM CANCEL",
  "RST_STREAM NO_ERROR",
  "RST_STREAM STREAM_CLOSED",
  "ECONNRESET",
  "EPIPE",
]);

export function errorOf(reset: StreamReset | undefined): string | undefined {
  return reset?.by === "peer" && ORDINARY.has(reset.detail) ? undefined : reset?.detail;
}

const NO_END = {
  bytes_sent: undefined,
  bytes_recv: undefined,
  duration: undefined,
  error: undefined,
};

/** The line of a connection of which no more is known than this. */
export function logTurnedAway(
  { accessLog, logLimit }: ZtunnelContext,
  kind: string,
  about: Pick<ConnectionParties, "sourceAddress" | "destinationAddress" | "direction"> & {
    readonly error: string;
  },
): void {
  if (!logLimit.allows(kind)) return;
  accessLog.write("warn", "connection failed", {
    "src.addr": about.sourceAddress,
    "dst.addr": about.destinationAddress,
    direction: about.direction,
    error: about.error,
  });
}
