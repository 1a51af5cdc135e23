/**
 * The reference pages that are lists: made from the tables in the code, so that they cannot lag.
 *
 * `node tools/docs.ts` writes them (Node ≥ 22.18); so does `npx vitest run test/docs -u`.
 * `test/docs/reference.test.ts` fails when a page and its table differ.
 */

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AdsClientMetrics } from "../src/agent/ads-client-metrics.ts";
import { certificateResults } from "../src/agent/certificates.ts";
import { KINDS, type Kind } from "../src/api/kinds.ts";
import { clusterMetrics } from "../src/control/cluster/cluster-duties.ts";
import {
  type Permission,
  permissionsOf,
  ROOT_NAMESPACE,
} from "../src/control/cluster/permissions.ts";
import { registerControlMetrics } from "../src/control/control-metrics.ts";
import { jwksFetches } from "../src/control/jwks/jwks-fetcher.ts";
import { admissionReviews } from "../src/control/serve/admission-reviews.ts";
import { adsMetrics } from "../src/control/serve/ads-server.ts";
import { certificateRequests } from "../src/control/serve/certificate-service.ts";
import { TIMINGS } from "../src/control/source/kubernetes/kubernetes-source.ts";
import { SETTINGS_MAPS, WATCHED_KINDS } from "../src/control/source/kubernetes/watched-kinds.ts";
import { DIAGNOSTICS } from "../src/kit/diagnostic.ts";
import { FAILURES } from "../src/kit/failure.ts";
import { log } from "../src/kit/log.ts";
import { WorkerMetrics } from "../src/process/workers/worker-metrics.ts";
import { droppedLines } from "../src/telemetry/access-log.ts";
import { DnsMetrics } from "../src/telemetry/dns-metrics.ts";
import {
  HTTP_LABELS,
  ISTIO_BUCKET_BOUNDS,
  RequestMetrics,
  recordBuild,
  TCP_LABELS,
  TcpMetrics,
} from "../src/telemetry/istio-metrics.ts";
import { limitsReached } from "../src/telemetry/limits-reached.ts";
import { type MetricDescription, MetricRegistry } from "../src/telemetry/metrics.ts";
import { PeerErrors } from "../src/telemetry/peer-errors.ts";
import { ShadowMetrics } from "../src/telemetry/shadow-metrics.ts";
import { WaypointMetrics } from "../src/waypoint/waypoint-metrics.ts";
import { ZtunnelMetrics } from "../src/ztunnel/ztunnel-metrics.ts";
import { chartPage } from "./chart.ts";

/** What each label says. */
const LABELS: Readonly<Record<string, string>> = {
  kind: "of an object; `other` for what a mesh does not read",
  reporter: "who counts: `waypoint`, or a ztunnel as `source` or `destination`",
  source_workload: "the client's workload (Deployment, Job, …)",
  source_canonical_service: "the client's canonical name",
  source_canonical_revision: "the client's canonical revision",
  source_workload_namespace: "the client's namespace",
  source_principal: "the SPIFFE id that the client proved",
  source_app: "the same as `source_canonical_service`, as in Istio's ambient mode",
  source_version: "the same as `source_canonical_revision`",
  source_cluster: "the client's cluster",
  destination_workload: "the server's workload",
  destination_workload_namespace: "the server's namespace",
  destination_principal: "the SPIFFE id of the server",
  destination_app: "the same as `destination_canonical_service`",
  destination_version: "the same as `destination_canonical_revision`",
  destination_service: "host name of the Service that was called",
  destination_canonical_service: "the server's canonical name",
  destination_canonical_revision: "the server's canonical revision",
  destination_service_name: "name of the Service that was called",
  destination_service_namespace: "its namespace",
  destination_cluster: "the server's cluster",
  request_protocol: "`http`, `grpc` or `tcp`; of DNS `udp` or `tcp`",
  request_query_type: "`A`, `AAAA` or `other`",
  response_code: "the HTTP status; 0 when there was no answer",
  grpc_response_status: "the gRPC status as a number; empty when the request is not gRPC",
  response_flags: "Envoy's short flags, ztunnel's for TCP (`DENY`, `CONNECT`, …), `-` for none",
  connection_security_policy: "`mutual_tls`, or `unknown` for plaintext",
  component: "which part of the mesh the process is",
  tag: "its version",
  reason: "why, in one word; the metric's meaning has the words",
  metric: "the name of the full metric",
  worker: "0 to N-1, of `--workers N`; a replacement has its predecessor's",
  waypoint: "`namespace/name` of the waypoint's Gateway",
  policy: "`namespace/name` of the policy that matched; empty when none did",
  limit: "which one, as in limits.md; of a body `request`, its own, or `waypoint`, that of all",
  status: "the HTTP status that was answered",
  protocol:
    "what was spoken: `http1`, `http2`, `tcp`, `unknown`, or `tunnel` for a tunnel connection",
  result: "what became of it: `issued`, or why not",
  cause: "why: `policy`, `workload_gone` or `shutdown`",
  state: "which of them is counted",
  type: "the resource's type URL",
  url: "the type URL of the response; `unknown` when it was not asked for",
  role: "`tunnel_listener`, `tunnel_upstream`, or `listener`, `upstream` inside tunnels",
  code: "of HTTP/2 the error's name in RFC 9113 §7; of TLS that in errors.md",
};

/** A registry with every metric in it. */
export function fullRegistry(): MetricRegistry {
  const registry = new MetricRegistry();
  new WaypointMetrics(registry, "");
  limitsReached(registry);
  jwksFetches(registry);
  registerControlMetrics(registry, { recomputedObjects: 0, current: { revision: 0 } });
  new RequestMetrics(registry, "waypoint");
  new TcpMetrics(registry);
  new ShadowMetrics(registry, "waypoint");
  new ZtunnelMetrics(registry);
  new DnsMetrics(registry);
  recordBuild(registry, "", "");
  droppedLines(registry);
  clusterMetrics(registry);
  adsMetrics(registry);
  admissionReviews(registry);
  new AdsClientMetrics(registry);
  certificateRequests(registry);
  certificateResults(registry);
  new WorkerMetrics(registry, () => []);
  new PeerErrors(registry, log("docs"));
  return registry;
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => "---"), ...rows];
  return lines.map((row) => `| ${row.map(cell).join(" | ")} |`).join("\n");
}

const GENERATED = "<!-- Written by tools/docs.ts from the code; change the table there. -->";

/** docs/reference/errors.md */
export function errorsPage(): string {
  const rows = Object.entries(FAILURES).map(([code, failure]) => [
    `\`${code}\``,
    failure.side,
    failure.isRetryable ? "yes" : "no",
    failure.meaning,
    failure.hint === "" ? "" : sentence(failure.hint),
  ]);
  return `${GENERATED}

# Errors

What can go wrong while the mesh runs. The code stands in logs and in decisions, in brackets:
\`[UPSTREAM_CONNECT_TIMEOUT] …\`. *Side* says on which side of the proxy the trouble is; *retried*
whether the same request may be tried again elsewhere.

${table(["code", "side", "retried", "meaning", "where to look"], rows)}
`;
}

const sentence = (text: string): string => text[0]!.toUpperCase() + text.slice(1);

/** docs/reference/diagnostics.md */
export function diagnosticsPage(): string {
  const rows = Object.entries(DIAGNOSTICS).map(([code, kind]) => [
    `\`${code}\``,
    kind.name,
    kind.level,
    kind.description,
  ]);
  return `${GENERATED}

# Diagnostics

What is wrong with a configuration, as \`waystone analyze\` and the control plane report it. Errors
of the form WS00xx refuse the edit whole, and the old configuration stays in force; the others are
accepted, and have the effect described. A code that is no longer used is not given to another.

${table(["code", "name", "level", "meaning"], rows)}
`;
}

/** docs/reference/metrics.md */
export function metricsPage(
  metrics: readonly MetricDescription[] = fullRegistry().describe(),
): string {
  const names = [...new Set([...HTTP_LABELS, ...metrics.flatMap((metric) => metric.labelNames)])];
  const missing = names.filter((name) => LABELS[name] === undefined);
  if (missing.length > 0) throw new Error(`tools/docs.ts does not describe ${missing.join(", ")}`);
  const rows = metrics.map((m) => [`\`${m.name}\``, m.type, m.help, labelsOf(m)]);
  return `${GENERATED}

# Metrics

Served at port 15020, \`/stats/prometheus\` and \`/metrics\`, in the Prometheus text format 0.0.4.
Names, labels and buckets of \`istio_*\` are Istio's own, so its dashboards work unchanged. A value
that is not known reads \`unknown\`. A metric keeps at most 10,000 combinations of label values; what
goes beyond is counted in one series whose labels all read \`overflow\`.

${table(["metric", "type", "meaning", "labels"], rows)}

The upper bounds of all \`istio_*\` histograms: ${ISTIO_BUCKET_BOUNDS.join(", ")}, +Inf.

Of ztunnel's own metrics these have no meaning here: \`workload_manager_*\` counts Pods that a CNI
plugin hands over, and this ztunnel is given listening addresses; \`istio_on_demand_dns_total\` counts
host names resolved for a connection, and here only ServiceEntries with addresses are acted on;
\`istio_crl_*\` counts revoked certificates, and no revocation list is read.

## Labels

${table(
  ["label", "meaning"],
  names.map((name) => [`\`${name}\``, LABELS[name]!]),
)}
`;
}

const isSame = (a: readonly string[], b: readonly string[]): boolean => a.join() === b.join();

function labelsOf({ labelNames }: MetricDescription): string {
  if (isSame(labelNames, HTTP_LABELS)) return "HTTP: all below from `reporter` on";
  if (isSame(labelNames, TCP_LABELS)) {
    return "TCP: the same without `response_code` and `grpc_response_status`";
  }
  return labelNames.map((name) => `\`${name}\``).join(", ");
}

/** Of a control plane: who asks for what, and why. */
function permissionRows(): string[][] {
  const modes = ["under", "beside"] as const;
  const all = new Map<string, { readonly one: Permission; readonly modes: string[] }>();
  for (const mode of modes) {
    for (const one of permissionsOf(mode)) {
      const key = JSON.stringify(one);
      const known = all.get(key) ?? { one, modes: [] };
      all.set(key, known);
      known.modes.push(mode);
    }
  }
  return [...all.values()].map(({ one: { scope, rule, reason }, modes: found }) => [
    rule.resources.map((name) => `\`${name}\``).join(", "),
    rule.apiGroups[0] || "core",
    rule.verbs.join(", "),
    rule.resourceNames?.map((name) => `\`${name}\``).join(", ") ?? "all",
    WHERE[scope],
    found.length === modes.length ? "both" : `\`${found.join()}\``,
    reason,
  ]);
}

const WHERE: Readonly<Record<Permission["scope"], string>> = {
  cluster: "everywhere",
  root: `in \`${ROOT_NAMESPACE}\``,
  own: "in its own namespace",
};

const seconds = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);

/** docs/reference/kubernetes.md */
export function kubernetesPage(): string {
  const rows = WATCHED_KINDS.map((name) => {
    const { group, versions, spelling = name, use }: Kind = KINDS[name];
    const what = use === "acted" ? "holds the start" : "is done without";
    return [`\`${spelling}\``, group || "core", versions.join(", "), what];
  });
  const limits = [
    [
      "first wait after a fault; the longest, with jitter, doubling between",
      [TIMINGS.retryFirstMs, TIMINGS.retryMaxMs],
    ],
    ["between looks at a kind that is missing or forbidden", [TIMINGS.probeMs]],
    [
      "a kind that the server has no more is given up, with its objects, after",
      [TIMINGS.goneAfterMs],
    ],
    ["a watch is ended by the server after, up to twice as much", [TIMINGS.watchSeconds * 1000]],
    ["changes that come together are one, for", [TIMINGS.batchMs]],
    ["silence in the middle of an answer", [TIMINGS.silenceMs]],
  ] as const;
  return `${GENERATED}

# What is read from Kubernetes

\`waystone control-plane --kubernetes\` lists and watches these kinds, each in the first of its
versions that the API server has. *If forbidden*: a kind that exists and may not be read either
holds the start, since a policy that is not seen lets traffic pass, or is done without until it may
be. A kind that the API server does not have holds nothing: it is looked for now and then.

${table(["kind", "group", "versions", "if forbidden"], rows)}

Of ConfigMaps only ${[...SETTINGS_MAPS].map((name) => `\`${name}\``).join(" and ")} of the root namespace
are kept.

## Permissions

What a control plane may do, and nothing else, with \`--mode under\` (in istiod's place) and with
\`--mode beside\` (istiod stays). [\`waystone install\`](../guides/install-on-kubernetes.md) and the Helm
chart make its roles of this table. Without \`--mode\` it only reads: the rows with list and watch.

${table(["resources", "group", "verbs", "names", "where", "mode", "what for"], permissionRows())}

## Limits

${table(
  ["what", "how long"],
  limits.map(([what, ms]) => [what, ms.map(seconds).join("; ")]),
)}
`;
}

/** File name under docs/reference/ → text. */
export const PAGES: Readonly<Record<string, () => string>> = {
  "errors.md": errorsPage,
  "diagnostics.md": diagnosticsPage,
  "metrics.md": metricsPage,
  "kubernetes.md": kubernetesPage,
  "chart.md": chartPage,
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, page] of Object.entries(PAGES)) {
    writeFileSync(new URL(`../docs/reference/${name}`, import.meta.url), page());
  }
}
