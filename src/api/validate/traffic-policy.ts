/** The parts of a DestinationRule's traffic policy. */
import { isIP } from "node:net";
import { parseGoDuration } from "../../kit/go-duration.ts";
import type { FieldPath } from "../object.ts";
import { hostNameProblem } from "./dns-names.ts";
import { durationProblems, portProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem, warning } from "./problem.ts";
import { unique } from "./uniqueness.ts";

type Fields = Readonly<Record<string, unknown>>;

interface ConnectionPool {
  readonly tcp?: Fields;
  readonly http?: Fields;
}

interface OutlierDetection extends Fields {
  readonly consecutiveErrors?: number;
  readonly splitExternalLocalOriginErrors?: boolean;
  readonly consecutiveLocalOriginFailures?: number;
}

interface ClientTls extends Fields {
  readonly mode?: string;
  readonly credentialName?: string;
}

interface Tunnel {
  readonly protocol?: string;
  readonly targetHost?: string;
  readonly targetPort?: number;
}

export interface TrafficPolicy extends Fields {
  readonly connectionPool?: ConnectionPool;
  readonly loadBalancer?: LoadBalancer;
  readonly outlierDetection?: OutlierDetection;
  readonly tls?: ClientTls;
  readonly tunnel?: Tunnel;
  readonly portLevelSettings?: readonly (PortPolicy | null)[];
}

interface PortPolicy extends TrafficPolicy {
  readonly port?: object;
}

const POOL_DURATIONS = [
  "http.http2KeepAlive.interval",
  "http.http2KeepAlive.timeout",
  "http.idleTimeout",
  "tcp.connectTimeout",
  "tcp.maxConnectionDuration",
  "tcp.tcpKeepalive.interval",
  "tcp.tcpKeepalive.time",
];
const COUNTS = [
  "http.http1MaxPendingRequests",
  "http.http2MaxRequests",
  "http.maxRequestsPerConnection",
  "http.maxRetries",
  "http.maxConcurrentStreams",
  "tcp.maxConnections",
];
const FIELDS = [
  ...["connectionPool", "loadBalancer", "outlierDetection", "tls", "portLevelSettings"],
  ...["tunnel", "proxyProtocol", "retryBudget"],
];
const PORT_FIELDS = ["connectionPool", "loadBalancer", "outlierDetection", "tls"];
const CONFIG_MAP = "configmap://";

/** `namespace`: of the rule. */
export function* trafficPolicyProblems(
  policy: TrafficPolicy,
  path: FieldPath,
  namespace: string,
): Problems {
  if (!FIELDS.some((field) => policy[field] !== undefined)) {
    yield problem(path, `must have one of ${FIELDS.join(", ")}`);
  }
  yield* commonProblems(policy, path, namespace);
  if (policy.tunnel !== undefined) yield* tunnelProblems(policy.tunnel, [...path, "tunnel"]);
  for (const [i, port] of (policy.portLevelSettings ?? []).entries()) {
    const at = [...path, "portLevelSettings", i];
    if (port === null) {
      yield problem(at, "must not be null");
      continue;
    }
    if (port.port === undefined) yield problem([...at, "port"], "is required");
    if (!PORT_FIELDS.some((field) => port[field] !== undefined)) {
      yield problem(at, `must have one of ${PORT_FIELDS.join(", ")}`);
    }
    yield* commonProblems(port, at, namespace);
  }
}

function* commonProblems(policy: TrafficPolicy, path: FieldPath, namespace: string): Problems {
  const { connectionPool, loadBalancer, outlierDetection, tls } = policy;
  if (connectionPool !== undefined) {
    yield* connectionPoolProblems(connectionPool, [...path, "connectionPool"]);
  }
  if (loadBalancer !== undefined) {
    const hasOutlier = outlierDetection !== undefined;
    yield* loadBalancerProblems(loadBalancer, [...path, "loadBalancer"], hasOutlier);
  }
  if (outlierDetection !== undefined) {
    yield* outlierDetectionProblems(outlierDetection, [...path, "outlierDetection"]);
  }
  if (tls !== undefined) yield* clientTlsProblems(tls, [...path, "tls"], namespace);
}

export function* connectionPoolProblems(pool: ConnectionPool, path: FieldPath): Problems {
  const { http, tcp } = pool;
  if (http === undefined && tcp === undefined) yield problem(path, "must have tcp or http");
  for (const pattern of COUNTS) {
    for (const { path: at, value } of each<number>(pool, pattern, path)) {
      if (value < 0) yield problem(at, "must not be negative");
    }
  }
  yield* durationProblems(pool, POOL_DURATIONS, path);
  for (const { path: at, value } of each<string>(pool, "tcp.idleTimeout", path)) {
    // 0s: never.
    if (parseGoDuration(value) !== 0)
      yield* durationProblems({ value }, ["value"], at.slice(0, -1));
  }
  if (http?.h2UpgradePolicy === "UPGRADE" && http.useClientProtocol === true) {
    yield problem([...path, "http", "useClientProtocol"], "and UPGRADE exclude each other");
  }
  for (const { path: at, value } of each<Fields>(pool, "http.http2KeepAlive", path)) {
    for (const field of ["interval", "timeout"]) {
      if (value[field] === undefined) yield problem([...at, field], "is required");
    }
  }
}

export function* outlierDetectionProblems(outlier: OutlierDetection, path: FieldPath): Problems {
  yield* durationProblems(outlier, ["baseEjectionTime", "interval"], path);
  if ((outlier.consecutiveErrors ?? 0) !== 0) {
    const instead = "use consecutiveGatewayErrors or consecutive5xxErrors";
    yield warning([...path, "consecutiveErrors"], `is a field of old: ${instead}`);
  }
  const hasLocal = (outlier.consecutiveLocalOriginFailures ?? 0) > 0;
  if (hasLocal && outlier.splitExternalLocalOriginErrors !== true) {
    const needed = "needs splitExternalLocalOriginErrors: true";
    yield problem([...path, "consecutiveLocalOriginFailures"], needed);
  }
  for (const field of ["maxEjectionPercent", "minHealthPercent"]) {
    const value = (outlier[field] as number | undefined) ?? 0;
    if (value < 0 || value > 100) yield problem([...path, field], "must be from 0 to 100");
  }
}

function* clientTlsProblems(tls: ClientTls, path: FieldPath, namespace: string): Problems {
  const { mode, credentialName = "", insecureSkipVerify } = tls;
  const isGiven = (field: string) => tls[field] !== undefined && tls[field] !== "";
  const isOurs = mode === "SIMPLE" || mode === "MUTUAL";
  if (credentialName.startsWith(CONFIG_MAP)) {
    const [of, name, ...more] = credentialName.slice(CONFIG_MAP.length).split("/");
    const isOwn = name === undefined || (of === namespace && namespace !== "");
    if (!isOwn || more.length > 0 || of === "") {
      yield problem([...path, "credentialName"], "must be a ConfigMap of the rule's own namespace");
    }
  }
  if (insecureSkipVerify === true && isOurs) {
    const checked = ["caCertificates", "subjectAltNames"];
    // With MUTUAL it may be the client's certificate alone.
    if (mode === "SIMPLE") checked.push("credentialName");
    for (const field of checked.filter(isGiven)) {
      yield problem(
        [...path, field],
        "has no effect with insecureSkipVerify: remove one of the two",
      );
    }
  }
  if (isOurs && credentialName !== "") {
    const files = ["clientCertificate", "privateKey", "caCertificates", "caCrl"];
    for (const field of files.filter(isGiven)) {
      yield problem([...path, field], "and credentialName exclude each other");
    }
  } else if (mode === "MUTUAL") {
    for (const field of ["clientCertificate", "privateKey"]) {
      if (!isGiven(field)) yield problem([...path, field], "is required with mode MUTUAL");
    }
  }
}

function* tunnelProblems(tunnel: Tunnel, path: FieldPath): Problems {
  const { protocol = "", targetHost = "" } = tunnel;
  if (!["", "CONNECT", "POST"].includes(protocol)) {
    yield problem([...path, "protocol"], "must be CONNECT or POST");
  }
  if (isIP(targetHost) === 0 && hostNameProblem(targetHost) !== undefined) {
    yield problem([...path, "targetHost"], "must be an IP address or a host name");
  }
  yield* portProblems({ targetPort: 0, ...tunnel }, ["targetPort"], path);
}

interface Cookie {
  readonly name?: string;
  readonly attributes?: readonly { readonly name?: string }[];
}

interface ConsistentHash {
  readonly httpCookie?: Cookie;
  readonly minimumRingSize?: number | string;
  readonly ringHash?: object;
  readonly maglev?: { readonly tableSize?: number | string };
}

interface Failover {
  readonly from?: string;
  readonly to?: string;
}

interface LocalitySetting {
  readonly distribute?: readonly { from?: string; to?: Readonly<Record<string, number>> }[];
  readonly failover?: readonly Failover[];
  readonly failoverPriority?: readonly string[];
}

export interface LoadBalancer {
  readonly consistentHash?: ConsistentHash;
  readonly localityLbSetting?: LocalitySetting;
  readonly zoneAwareLbSetting?: LocalitySetting;
  readonly warmup?: {
    readonly duration?: string;
    readonly minimumPercent?: number;
    readonly aggression?: number;
  };
}

const TOPOLOGY: ReadonlySet<string> = new Set([
  "topology.kubernetes.io/region",
  "topology.kubernetes.io/zone",
  "topology.istio.io/subzone",
]);
const MAGLEV_MAX = 5_000_011;

export function* loadBalancerProblems(
  balancer: LoadBalancer,
  path: FieldPath,
  hasOutlier: boolean,
): Problems {
  const { consistentHash, localityLbSetting: locality, zoneAwareLbSetting: zones } = balancer;
  if (consistentHash !== undefined)
    yield* hashProblems(consistentHash, [...path, "consistentHash"]);
  yield* durationProblems(balancer, ["warmupDurationSecs", "warmup.duration"], path);
  const { warmup } = balancer;
  if (warmup !== undefined) {
    const at = [...path, "warmup"];
    if (warmup.duration === undefined) yield problem([...at, "duration"], "is required");
    if ((warmup.minimumPercent ?? 0) > 100) {
      yield problem([...at, "minimumPercent"], "must be 100 at most");
    }
    if ((warmup.aggression ?? 1) <= 0) yield problem([...at, "aggression"], "must be above 0");
  }
  if (locality !== undefined && zones !== undefined) {
    yield problem([...path, "zoneAwareLbSetting"], "and localityLbSetting exclude each other");
  }
  if (locality !== undefined) {
    const at = [...path, "localityLbSetting"];
    yield* distributionProblems(locality, at);
    yield* failoverProblems(locality, at, hasOutlier, (locality.failover?.length ?? 0) > 0);
  }
  if (zones !== undefined) {
    yield* failoverProblems(zones, [...path, "zoneAwareLbSetting"], hasOutlier, true);
  }
}

function* hashProblems(hash: ConsistentHash, path: FieldPath): Problems {
  const { httpCookie, minimumRingSize = 0, ringHash, maglev } = hash;
  if (httpCookie !== undefined) {
    const at = [...path, "httpCookie"];
    if ((httpCookie.name ?? "") === "") yield problem([...at, "name"], "is required");
    const { attributes } = httpCookie;
    const named = (name: string) => `an attribute of the name ${name}`;
    yield* unique(attributes, [...at, "attributes"], ({ name }) => name, named, ["name"]);
    for (const [i, { name = "" }] of (attributes ?? []).entries()) {
      if (name === "") yield problem([...at, "attributes", i, "name"], "is required");
    }
  }
  if (Number(minimumRingSize) !== 0) {
    const at = [...path, "minimumRingSize"];
    yield warning(at, "is a field of old: use ringHash");
    if (ringHash !== undefined || maglev !== undefined) {
      yield problem(at, "goes neither with ringHash nor with maglev");
    }
  }
  if (maglev === undefined) return;
  const size = Number(maglev.tableSize ?? 0);
  if (!isPrime(size) || size >= MAGLEV_MAX) {
    yield problem([...path, "maglev", "tableSize"], `must be a prime number below ${MAGLEV_MAX}`);
  }
}

function isPrime(number: number): boolean {
  if (number < 2 || !Number.isInteger(number)) return number === 1;
  if (number >= MAGLEV_MAX) return true;
  for (let factor = 2; factor * factor <= number; factor++) if (number % factor === 0) return false;
  return true;
}

function* distributionProblems(setting: LocalitySetting, path: FieldPath): Problems {
  const { distribute = [], failover = [] } = setting;
  if (distribute.length > 0 && failover.length > 0) {
    yield problem([...path, "failover"], "and distribute exclude each other");
  }
  for (const [i, { to = {} }] of distribute.entries()) {
    const at = [...path, "distribute", i, "to"];
    for (const [place, weight] of Object.entries(to)) {
      if (weight < 1 || weight > 100) yield problem([...at, place], "must be from 1 to 100");
    }
    const sum = Object.values(to).reduce((all, weight) => all + weight, 0);
    if (sum !== 100) yield problem(at, `has weights of ${sum} in all; they must be 100`);
    yield* localityProblems(Object.keys(to), (place) => [...at, place]);
  }
  const froms = distribute.map(({ from = "" }) => from);
  yield* localityProblems(froms, (_, i) => [...path, "distribute", i, "from"]);
}

/** region/zone/subzone, each or its end a wildcard; none may be among another. */
function* localityProblems(
  localities: readonly string[],
  at: (locality: string, index: number) => FieldPath,
): Problems {
  for (const [i, locality] of localities.entries()) {
    const parts = locality.split("/");
    if (/\*./.test(locality)) yield problem(at(locality, i), 'may have a "*" at its end only');
    else if (parts.length > 3 || parts.some((part) => part === "")) {
      yield problem(at(locality, i), "must be region, region/zone or region/zone/subzone");
    }
    const other = localities.findIndex((one, j) => j !== i && isWithin(locality, one));
    if (other >= 0 && (other < i || localities[other] !== locality)) {
      yield problem(at(locality, i), `is within ${localities[other]}`);
    }
  }
}

function isWithin(locality: string, of: string): boolean {
  const parts = of.split("/");
  return locality.split("/").every((part, i) => parts[i] === undefined || isPart(part, parts[i]));
}

function isPart(part: string, of: string): boolean {
  return of.endsWith("*") ? part.startsWith(of.slice(0, -1)) : part === of;
}

function* failoverProblems(
  setting: LocalitySetting,
  path: FieldPath,
  hasOutlier: boolean,
  isTopologyKnown: boolean,
): Problems {
  const { failover = [], failoverPriority = [] } = setting;
  if (!hasOutlier && failover.length + failoverPriority.length > 0) {
    yield warning(path, "needs an outlierDetection to know what has failed");
  }
  for (const [i, label] of failoverPriority.entries()) {
    if (!isTopologyKnown || !TOPOLOGY.has(label.split("=")[0]!)) continue;
    yield problem([...path, "failoverPriority", i], "is what places are told apart by already");
  }
  for (const [i, { from = "", to = "" }] of failover.entries()) {
    const at = [...path, "failover", i];
    if (from === to) yield problem([...at, "to"], "must be another region");
    for (const [field, region] of Object.entries({ from, to })) {
      if (/[/*]/.test(region)) yield problem([...at, field], "must be a region alone");
    }
  }
}
