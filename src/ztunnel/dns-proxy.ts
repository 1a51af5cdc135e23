/**
 * Answers the names of the mesh, and passes all other questions on to the node's resolvers.
 *
 *     A, AAAA of a service's name   its VIPs; headless: its endpoints' addresses; none: no data
 *     … with a search domain        CNAME to the name that was meant, and its addresses
 *     anything else                 the resolvers' answer as it is; SERVFAIL when there is none
 *
 * A question never comes back to us: our own address is no resolver (listening on a wildcard
 * included), and an answer is never taken for a question.
 */
import net from "node:net";
import { log } from "../kit/log.ts";
import { LogLimit } from "../kit/log-limit.ts";
import type { Service } from "../model/service.ts";
import type { Snapshot, SnapshotSource } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import {
  answerCount,
  CLASS_IN,
  DNS_TYPE,
  type DnsQuery,
  encodeAnswer,
  RCODE,
  refusalOf,
  udpBytesMax,
} from "../net/dns/message.ts";
import type { DnsServerAddress } from "../net/dns/resolver-config.ts";
import {
  type DnsHandler,
  type DnsProtocol,
  type DnsRequest,
  DnsServer,
} from "../net/dns/server.ts";
import { DnsUpstream, type UpstreamResult } from "../net/dns/upstream.ts";
import { DnsMetrics, type DnsSeries } from "../telemetry/dns-metrics.ts";
import { EventLog } from "../telemetry/event-log.ts";
import { LimitsReached } from "../telemetry/limits-reached.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { lookUpName } from "./names.ts";

export interface DnsProxyOptions {
  readonly snapshots: Pick<SnapshotSource, "current">;
  readonly registry: MetricRegistry;
  readonly host: string;
  /** Istio's is 15053; 0: a free one. */
  readonly port: number;
  /** Where other names are asked for: `parseResolvConf` gives the system's. */
  readonly resolvers: readonly DnsServerAddress[];
  /** The workload that asks; undefined: not one of the mesh. Default: the address's owner. */
  readonly workloadAt?: (address: string) => Workload | undefined;
  /** For one resolver; default 2,000. */
  readonly timeoutMs?: number;
  readonly maxPending?: number;
  /** A line of level debug for each question; default: in the log of the process. */
  readonly accessLog?: EventLog;
}

const TTL_SECONDS = 30;
const TCP_BYTES_MAX = 65_535;
/** Of a headless service; more would not fit, and nobody tries them all. */
const ADDRESSES_MAX = 64;

export class DnsProxy implements DnsHandler {
  readonly #options: DnsProxyOptions;
  readonly #log = log("dns");
  readonly #logLimit = new LogLimit({
    onLeftOut: (kind, count) => this.#log.warn({ kind, count }, "more lines like this one"),
  });
  readonly #metrics: DnsMetrics;
  readonly #accessLog: EventLog;
  readonly #limitsReached: LimitsReached;
  readonly #server: DnsServer;
  #upstream: DnsUpstream | undefined;

  constructor(options: DnsProxyOptions) {
    this.#options = options;
    this.#metrics = new DnsMetrics(options.registry);
    const encoding = () => options.snapshots.current.settings.accessLogEncoding;
    this.#accessLog = options.accessLog ?? new EventLog({ scope: "dns", encoding });
    this.#limitsReached = new LimitsReached(options.registry, this.#log);
    this.#server = new DnsServer(this);
  }

  /** Resolves with the port. */
  async listen(): Promise<number> {
    const { host, port, resolvers, timeoutMs, maxPending } = this.#options;
    const bound = await this.#server.listen(host, port);
    const servers = resolvers.filter((resolver) => !isOurs(resolver, host, bound));
    this.#upstream = new DnsUpstream({
      servers,
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(maxPending === undefined ? {} : { maxPending }),
    });
    return bound;
  }

  drain(): Promise<void> {
    this.destroy();
    return Promise.resolve();
  }

  destroy(): void {
    this.#server.close();
    this.#upstream?.close();
    this.#logLimit.flush();
  }

  onMalformed(protocol: DnsProtocol, remoteAddress: string): void {
    this.#metrics.malformed(protocol);
    if (this.#logLimit.allows("malformed")) {
      this.#log.warn({ remoteAddress, protocol }, "not a DNS query");
    }
  }

  onConnectionRefused(): void {
    this.#limitsReached.reached("dns_connections");
  }

  onQuery(request: DnsRequest, answer: (bytes: Buffer) => void): void {
    const { query, protocol, remoteAddress } = request;
    const source = this.#workloadAt(remoteAddress);
    const principal = source && workloadIdentity(source);
    const series = this.#metrics.series(source, principal, protocol, typeOf(query));
    series.requested();
    if ((query.edns?.version ?? 0) > 0) {
      answer(refusalOf({ id: query.id, rcode: RCODE.BADVERS }, query));
      return;
    }
    const own = this.#ownAnswer(query, protocol, source);
    if (own !== undefined) answer(own);
    else this.#passOn(request, source, series, answer);
  }

  /** The line of ztunnel's scope `dns`. */
  #tell(query: DnsQuery, source: Workload | undefined, result: string, endpoints: number): void {
    if (!this.#accessLog.isLogged("debug")) return;
    const type = typeOf(query);
    this.#accessLog.write("debug", undefined, {
      "src.workload": source?.name ?? "unknown",
      "src.namespace": source?.namespace ?? "unknown",
      // RFC 3597 §5 has a name for those that have none.
      query: type === "other" ? `TYPE${query.type}` : type,
      domain: query.name && `${query.name}.`,
      result,
      endpoints,
    });
  }

  #workloadAt(address: string): Workload | undefined {
    const { workloadAt, snapshots } = this.#options;
    if (workloadAt !== undefined) return workloadAt(address);
    const uid = snapshots.current.addresses.get(address)?.workloads[0];
    return uid === undefined ? undefined : snapshots.current.workloads.get(uid);
  }

  /** Undefined: not a question about the mesh. */
  #ownAnswer(
    query: DnsQuery,
    protocol: DnsProtocol,
    source: Workload | undefined,
  ): Buffer | undefined {
    if (query.name === undefined || query.class !== CLASS_IN) return undefined;
    const type = typeOf(query);
    if (type === "other") return undefined;
    const { current } = this.#options.snapshots;
    const known = lookUpName(current, source?.namespace, query.name);
    if (known === undefined) return undefined;
    const family = type === "A" ? 4 : 6;
    const addresses = addressesOf(current, known.service, family, Math.random());
    const bytesMax = protocol === "tcp" ? TCP_BYTES_MAX : udpBytesMax(query);
    const { canonicalName } = known;
    this.#tell(query, source, addresses.length > 0 ? "success" : "no records", addresses.length);
    return encodeAnswer(
      query,
      {
        rcode: RCODE.NOERROR,
        isAuthoritative: true,
        addresses,
        ttlSeconds: TTL_SECONDS,
        ...(canonicalName === undefined ? {} : { canonicalName }),
      },
      bytesMax,
    );
  }

  #passOn(
    request: DnsRequest,
    source: Workload | undefined,
    series: DnsSeries,
    answer: (bytes: Buffer) => void,
  ): void {
    const { query, bytes, protocol } = request;
    const startMs = performance.now();
    series.passedOn();
    const onResult = (result: UpstreamResult): void => {
      if ("answer" in result) {
        series.answeredIn((performance.now() - startMs) / 1000);
        this.#tell(query, source, "forwarded", answerCount(result.answer));
        answer(result.answer);
        return;
      }
      series.failed();
      if (result.problem === "busy") this.#limitsReached.reached("dns_questions");
      this.#tell(query, source, `forwarding failed (${result.problem})`, 0);
      if (this.#logLimit.allows(result.problem)) {
        this.#log.warn({ name: query.name, problem: result.problem }, "no resolver has answered");
      }
      answer(refusalOf({ id: query.id, rcode: RCODE.SERVFAIL }, query));
    };
    this.#upstream!.ask(bytes, query, protocol === "tcp", onResult);
  }
}

function typeOf(query: DnsQuery): "A" | "AAAA" | "other" {
  if (query.type === DNS_TYPE.A) return "A";
  return query.type === DNS_TYPE.AAAA ? "AAAA" : "other";
}

/** Of one family; those of a headless service begin anywhere, so that clients spread. */
export function addressesOf(
  snapshot: Snapshot,
  service: Service,
  family: 4 | 6,
  draw: number,
): readonly string[] {
  const isWanted = (address: string) => net.isIP(address) === family;
  if (service.addresses.length > 0) return service.addresses.filter(isWanted);
  const isOpenToAll = service.loadBalancing.healthPolicy === "ALLOW_ALL";
  const addresses = new Set<string>();
  for (const endpoint of snapshot.endpoints.get(service.key) ?? []) {
    if ((endpoint.isHealthy || isOpenToAll) && isWanted(endpoint.address)) {
      addresses.add(endpoint.address);
    }
  }
  const all = [...addresses];
  const first = Math.floor(draw * all.length);
  return [...all.slice(first), ...all.slice(0, first)].slice(0, ADDRESSES_MAX);
}

function isOurs(resolver: DnsServerAddress, host: string, port: number): boolean {
  if (resolver.port !== port) return false;
  const isAnywhere = host === "0.0.0.0" || host === "::";
  return resolver.host === host || (isAnywhere && isLocal(resolver.host));
}

function isLocal(address: string): boolean {
  return address === "::1" || address.startsWith("127.") || address === "0.0.0.0";
}
