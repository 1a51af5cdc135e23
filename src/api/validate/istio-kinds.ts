/**
 * The rules of Istio's kinds, each put together from those of its definition (CEL) and those of
 * its parts.
 */
import type { FieldPath } from "../object.ts";
import { endpointProblems } from "./endpoints.ts";
import {
  exclusiveProblems,
  labelProblems,
  portProblems,
  selectorProblems,
  targetNamespaceProblems,
} from "./istio-definitions.ts";
import { each } from "./places.ts";
import { labelSelectorProblems } from "./policy-attachment.ts";
import { type Problems, problem } from "./problem.ts";
import { connectionPoolProblems } from "./traffic-policy.ts";

export function* peerAuthenticationProblems(policy: unknown): Problems {
  yield* labelSelectorProblems(policy);
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

const WORKLOAD_PROBES = ["grpc", "httpGet", "tcpSocket"];
const HEADER_NAME = /^[-A-Za-z0-9]+$/;

export function* workloadEntryProblems(entry: unknown): Problems {
  for (const { path, value } of each<object>(entry, "spec")) {
    yield* endpointProblems(value, path);
  }
}

interface WorkloadGroup {
  readonly template?: object;
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
  readonly probe?: Readonly<Record<string, unknown>>;
}

export function* workloadGroupProblems(group: unknown): Problems {
  for (const { path, value } of each<WorkloadGroup>(group, "spec")) {
    const { template, metadata, probe } = value;
    if (template === undefined) yield problem([...path, "template"], "is required");
    else yield* endpointProblems(template, [...path, "template"], { isTemplate: true });
    yield* labelProblems(metadata?.labels, [...path, "metadata", "labels"]);
    const ways = [...WORKLOAD_PROBES, "exec"];
    if (probe !== undefined && !ways.some((way) => probe[way] !== undefined)) {
      yield problem([...path, "probe"], `needs a way to ask: ${ways.join(", ")}`);
    }
  }
  yield* portProblems(
    group,
    WORKLOAD_PROBES.map((probe) => `spec.probe.${probe}.port`),
  );
  for (const { path, value } of each<string>(group, "spec.probe.httpGet.httpHeaders[].name")) {
    if (!HEADER_NAME.test(value)) yield problem(path, "must be a name of letters, digits and -");
  }
  for (const { path, value } of each<{ command?: readonly string[] }>(group, "spec.probe.exec")) {
    if ((value.command?.length ?? 0) === 0) yield problem([...path, "command"], "is required");
  }
}

/** Selectors of a kind whose other parts nothing is said of. */
export function* proxyConfigProblems(config: unknown): Problems {
  yield* labelSelectorProblems(config);
}

interface Sidecar {
  readonly ingress?: readonly { readonly connectionPool?: object }[];
  readonly inboundConnectionPool?: object;
}

export function* sidecarProblems(sidecar: unknown): Problems {
  yield* selectorProblems(sidecar, "spec.workloadSelector.labels");
  for (const { path, value } of each<Sidecar>(sidecar, "spec")) {
    const { inboundConnectionPool: pool, ingress = [] } = value;
    if (pool !== undefined) {
      yield* connectionPoolProblems(pool, [...path, "inboundConnectionPool"]);
    }
    for (const [i, { connectionPool }] of ingress.entries()) {
      if (connectionPool === undefined) continue;
      yield* connectionPoolProblems(connectionPool, [...path, "ingress", i, "connectionPool"]);
    }
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
