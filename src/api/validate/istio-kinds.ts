/**
 * The rules of Istio's kinds, each put together from those of its definition (CEL) and those of
 * its parts.
 */
import type { FieldPath } from "../object.ts";
import {
  durationProblems,
  endpointProblems,
  exclusiveProblems,
  placeProblems,
  portProblems,
  selectorProblems,
  targetNamespaceProblems,
} from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { unique } from "./uniqueness.ts";

const SELECTOR = "spec.selector.matchLabels";
/** `targetRef` and its like are held apart by the schema where that has them. */
const ATTACHMENTS = ["selector", "targetRef", "targetRefs"];

/** Of a policy that stands at a selector or at targets. */
export function* attachmentProblems(policy: unknown): Problems {
  yield* selectorProblems(policy, SELECTOR);
  yield* targetNamespaceProblems(policy);
  yield* exclusiveProblems(policy, "spec", ATTACHMENTS);
}

export function* peerAuthenticationProblems(policy: unknown): Problems {
  yield* selectorProblems(policy, SELECTOR);
  for (const { path, value } of each<Spec>(policy, "spec")) {
    const labels = value.selector?.matchLabels ?? {};
    if (value.portLevelMtls === undefined || Object.keys(labels).length > 0) continue;
    yield problem([...path, "portLevelMtls"], "needs a selector with labels: ports are workloads'");
  }
}

interface Spec {
  readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
  readonly portLevelMtls?: object;
}

export function* telemetryProblems(telemetry: unknown): Problems {
  yield* attachmentProblems(telemetry);
  yield* durationProblems(telemetry, ["spec.metrics[].reportingInterval"]);
  const tags = "spec.metrics[].overrides[].tagOverrides{}";
  for (const { path, value } of each<TagOverride>(telemetry, tags)) {
    if (value.operation === "UPSERT" && (value.value ?? "") === "") {
      yield problem([...path, "value"], "is required to set a tag");
    }
    if (value.operation === "REMOVE" && value.value !== undefined) {
      yield problem([...path, "value"], "is not for a tag that is removed");
    }
  }
}

interface TagOverride {
  readonly operation?: string;
  readonly value?: string;
}

const URL_SCHEMES: ReadonlySet<string> = new Set(["http:", "https:", "file:", "oci:"]);

export function* wasmPluginProblems(plugin: unknown): Problems {
  yield* attachmentProblems(plugin);
  yield* vmProblems(plugin, "spec");
}

/** A plugin's own settings: of a WasmPlugin its spec, of a TrafficExtension a part. */
export function* vmProblems(object: unknown, pattern: string): Problems {
  for (const { path, value } of each<string>(object, `${pattern}.url`)) {
    if (!isModuleUrl(value)) {
      yield problem(path, "must be a URL of http, https, file or oci");
    }
  }
  for (const { path, value } of each<readonly Env[]>(object, `${pattern}.vmConfig.env`)) {
    yield* unique(
      value,
      path,
      ({ name }) => name,
      (name) => `a variable of the name ${name}`,
      ["name"],
    );
    for (const [i, { valueFrom, value: text }] of value.entries()) {
      if (valueFrom !== "HOST" || text === undefined) continue;
      yield problem([...path, i, "value"], "is not for a variable of the host");
    }
  }
}

interface Env {
  readonly name: string;
  readonly valueFrom?: string;
  readonly value?: string;
}

function isModuleUrl(text: string): boolean {
  // Without a scheme it is an image's name.
  const url = /^[a-z][-+.a-z0-9]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(url) || /[#\s]/.test(text)) return false;
  return URL_SCHEMES.has(new URL(url).protocol);
}

export function* workloadEntryProblems(entry: unknown): Problems {
  for (const { path, value } of each<object>(entry, "spec")) {
    yield* placeProblems(value, path);
    yield* endpointProblems(value, path);
  }
}

export function* workloadGroupProblems(group: unknown): Problems {
  for (const { path, value } of each<object>(group, "spec.template")) {
    yield* endpointProblems(value, path);
  }
  yield* portProblems(
    group,
    ["grpc", "httpGet", "tcpSocket"].map((probe) => `spec.probe.${probe}.port`),
  );
}

/** Selectors of a kind whose other parts nothing is said of. */
export function* proxyConfigProblems(config: unknown): Problems {
  yield* selectorProblems(config, SELECTOR);
}

/** Of a connection pool, an outlier detection and a load balancer, wherever they stand. */
export const TRAFFIC_DURATIONS: readonly string[] = [
  "connectionPool.http.http2KeepAlive.interval",
  "connectionPool.http.http2KeepAlive.timeout",
  "connectionPool.http.idleTimeout",
  "connectionPool.tcp.connectTimeout",
  "connectionPool.tcp.maxConnectionDuration",
  "connectionPool.tcp.tcpKeepalive.interval",
  "connectionPool.tcp.tcpKeepalive.time",
  "loadBalancer.warmup.duration",
  "loadBalancer.warmupDurationSecs",
  "outlierDetection.baseEjectionTime",
  "outlierDetection.interval",
];

export function* sidecarProblems(sidecar: unknown): Problems {
  yield* selectorProblems(sidecar, "spec.workloadSelector.labels");
  const pool = TRAFFIC_DURATIONS.flatMap((field) => {
    const [of, ...rest] = field.split(".");
    return of === "connectionPool" ? [rest.join(".")] : [];
  });
  for (const place of ["spec.inboundConnectionPool", "spec.ingress[].connectionPool"]) {
    yield* durationProblems(
      sidecar,
      pool.map((field) => `${place}.${field}`),
    );
  }
}

export function* envoyFilterProblems(filter: unknown): Problems {
  yield* selectorProblems(filter, "spec.workloadSelector.labels");
  yield* targetNamespaceProblems(filter);
  yield* exclusiveProblems(filter, "spec", ["workloadSelector", "targetRefs"]);
  for (const { path, value } of each<PatchMatch>(filter, "spec.configPatches[].match")) {
    yield* contextProblems(value, path);
  }
  yield* portProblems(filter, ["spec.configPatches[].match.waypoint.portNumber"]);
}

interface PatchMatch {
  readonly context?: string;
  readonly waypoint?: object;
}

function* contextProblems({ context, waypoint }: PatchMatch, path: FieldPath): Problems {
  if (context === "WAYPOINT" && waypoint === undefined) {
    yield problem([...path, "waypoint"], "is required for the context WAYPOINT");
  }
  if (context !== "WAYPOINT" && waypoint !== undefined) {
    yield problem([...path, "waypoint"], "is for the context WAYPOINT only");
  }
}
