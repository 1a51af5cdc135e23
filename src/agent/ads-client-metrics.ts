/**
 * The metrics of a proxy's configuration stream: ours, and those of Istio's ztunnel, with its names
 * and its words. The waypoint has them too: its stream is the same one.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { Counter, CounterFamily, MetricRegistry } from "../telemetry/metrics.ts";
import type { DeltaDiscoveryResponse } from "../wire/gen/envoy/discovery_pb.ts";
import type { ResourceType } from "../wire/resource.ts";

/** How a stream ended: before it began, badly, as each stream does one day, or without an error. */
export type TerminationReason = "ConnectionError" | "Error" | "Reconnect" | "Complete";

/** What a server answers whose streams have an end, and what a way to it that breaks amounts to. */
const ROUTINE: ReadonlySet<Code> = new Set([Code.Unknown, Code.Canceled, Code.DeadlineExceeded]);
const ROUTINE_UNAVAILABLE = /transport is closing|goaway/i;

/** `hasBegun`: the control plane had answered on this stream. */
export function terminationReason(caught: unknown, hasBegun: boolean): TerminationReason {
  if (!hasBegun) return "ConnectionError";
  if (!(caught instanceof ConnectError)) return "Error";
  const { code, rawMessage } = caught;
  const isRoutine =
    ROUTINE.has(code) || (code === Code.Unavailable && ROUTINE_UNAVAILABLE.test(rawMessage));
  return isRoutine ? "Reconnect" : "Error";
}

export class AdsClientMetrics {
  readonly connected;
  readonly revision;
  readonly reconnects: Counter;
  readonly refusals: CounterFamily;
  readonly terminations: CounterFamily;
  readonly #messages: CounterFamily;
  readonly #messageBytes: CounterFamily;

  constructor(registry: MetricRegistry) {
    this.connected = registry
      .gauge("waystone_ads_connected", "1 while the control plane answers.", [])
      .child([]);
    this.revision = registry
      .gauge("waystone_ads_revision", "The revision of the configuration in force.", [])
      .child([]);
    this.reconnects = registry
      .counter("waystone_ads_reconnects_total", "Attempts to reach the control plane again.", [])
      .child([]);
    this.refusals = registry.counter(
      "waystone_ads_resources_refused_total",
      "Responses of the control plane that were refused (NACK), by type.",
      ["type"],
    );
    this.terminations = registry.counter(
      "istio_xds_connection_terminations_total",
      "Configuration streams that ended: before an answer came (ConnectionError), by an error " +
        "(Error), as each does one day (Reconnect), or without an error (Complete).",
      ["reason"],
    );
    this.#messages = registry.counter(
      "istio_xds_message_total",
      "Responses that came from the control plane, by the type of their resources.",
      ["url"],
    );
    this.#messageBytes = registry.counter(
      "istio_xds_message_bytes_total",
      "Bytes of the resources in them.",
      ["url"],
    );
  }

  /** `type` undefined: not one that was asked for, whose name is the server's to choose. */
  message({ resources }: DeltaDiscoveryResponse, type: ResourceType | undefined): void {
    const labels = [type ?? "unknown"];
    let bytes = 0;
    for (const { resource } of resources) bytes += resource?.value.length ?? 0;
    this.#messages.child(labels).add(1);
    this.#messageBytes.child(labels).add(bytes);
  }
}
