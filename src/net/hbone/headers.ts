/**
 * What a tunnel says about its client: `baggage`, `forwarded`, `traceparent` (protocols.md §3.2).
 *
 * All three are hints from an authenticated peer about somebody else. They go into metrics and
 * logs and never into a decision: identity comes from the certificate alone.
 */
import { randomFillSync } from "node:crypto";

/** Who a connection comes from; a `Workload` is one. */
export interface BaggageSource {
  readonly clusterId: string;
  readonly namespace: string;
  readonly workloadType: "DEPLOYMENT" | "CRONJOB" | "POD" | "JOB";
  readonly workloadName: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly locality: { readonly region: string; readonly zone: string } | undefined;
}

/** What a peer's baggage said; what it left out is "". */
export interface Baggage {
  readonly clusterId: string;
  readonly namespace: string;
  /** `deployment`, `cronjob`, `pod` or `job`. */
  readonly workloadType: string;
  readonly workloadName: string;
  readonly serviceName: string;
  readonly serviceVersion: string;
  readonly region: string;
  readonly zone: string;
}

const BAGGAGE_CHARACTERS_MAX = 8192;
const UNSAFE = /[^\x21-\x2b\x2d-\x3a\x3c-\x7e]/g;
const WORKLOAD_KEY = /^k8s\.(deployment|cronjob|pod|job)\.name$/;

/** The `baggage` of a source. Empty fields are left out; nothing is escaped, as peers do not. */
export function baggageOf(source: BaggageSource): string {
  const { locality } = source;
  const members: readonly (readonly [string, string])[] = [
    ["k8s.cluster.name", source.clusterId],
    ["k8s.namespace.name", source.namespace],
    [`k8s.${source.workloadType.toLowerCase()}.name`, source.workloadName],
    ["service.name", source.canonicalName],
    ["service.version", source.canonicalRevision],
    ["cloud.region", locality?.region ?? ""],
    ["cloud.availability_zone", locality?.zone ?? ""],
  ];
  return members
    .filter(([, value]) => value !== "")
    .map(([key, value]) => `${key}=${value.replace(UNSAFE, "_")}`)
    .join(",");
}

/** Reads what is understood and skips the rest; the first of two equal keys counts. */
export function parseBaggage(text: string): Baggage {
  const found = new Map<string, string>();
  let workloadType = "";
  for (const member of text.slice(0, BAGGAGE_CHARACTERS_MAX).split(",")) {
    const [pair = ""] = member.split(";", 1);
    const equals = pair.indexOf("=");
    if (equals < 0) continue;
    let key = pair.slice(0, equals).trim();
    const kind = WORKLOAD_KEY.exec(key)?.[1];
    if (kind !== undefined) {
      workloadType ||= kind;
      key = "workload";
    }
    if (!found.has(key)) found.set(key, pair.slice(equals + 1).trim());
  }
  const value = (key: string) => found.get(key) ?? "";
  return {
    clusterId: value("k8s.cluster.name"),
    namespace: value("k8s.namespace.name"),
    workloadType,
    workloadName: value("workload"),
    serviceName: value("service.name"),
    serviceVersion: value("service.version"),
    region: value("cloud.region"),
    zone: value("cloud.availability_zone"),
  };
}

/** `forwarded` (RFC 7239): the client as `ip:port`, and the service's host name when one is known. */
export function forwardedFor(client: string, host: string | undefined): string {
  return host ? `for="${client}";host=${host}` : `for="${client}"`;
}

/** Random bytes are drawn for many headers at once: one call costs more than the bytes. */
const POOL_BYTES = 24 * 128;
const pool = Buffer.allocUnsafe(POOL_BYTES);
let poolPosition = POOL_BYTES;

/** A fresh W3C `traceparent`, not sampled. */
export function newTraceparent(): string {
  if (poolPosition === POOL_BYTES) {
    randomFillSync(pool);
    poolPosition = 0;
  }
  const traceId = pool.toString("hex", poolPosition, poolPosition + 16);
  const spanId = pool.toString("hex", poolPosition + 16, poolPosition + 24);
  poolPosition += 24;
  return `00-${traceId}-${spanId}-00`;
}
