/** What a schema cannot say of a ServiceEntry. */
import type { FieldPath, KubeObject } from "../object.ts";
import { addressProblem } from "./attribute-values.ts";
import {
  hostNameProblem,
  isDnsLabel,
  isPartialWildcard,
  wildcardHostProblem,
} from "./dns-names.ts";
import { type Endpoint, endpointProblems } from "./endpoints.ts";
import { exportProblems } from "./export-to.ts";
import { exclusiveProblems, portProblems, selectorProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { protocolOf } from "./port-protocols.ts";
import { type Problems, problem, warning } from "./problem.ts";
import { unique } from "./uniqueness.ts";

interface Port {
  readonly name?: string;
  readonly number: number;
  readonly protocol?: string;
}

interface Spec {
  readonly hosts?: readonly string[];
  readonly addresses?: readonly string[];
  readonly ports?: readonly Port[];
  readonly location?: string;
  readonly resolution?: string;
  readonly endpoints?: readonly Endpoint[];
  readonly workloadSelector?: { readonly labels?: Readonly<Record<string, string>> };
  readonly exportTo?: readonly string[];
}

const WITH_RANGES: ReadonlySet<string> = new Set(["NONE", "STATIC"]);
const BY_DNS: ReadonlySet<string> = new Set(["DNS", "DNS_ROUND_ROBIN"]);
/** What a proxy can tell hosts apart by, with resolution DYNAMIC_DNS. */
const DYNAMIC_PROTOCOLS: ReadonlySet<string> = new Set(["http", "tls", "grpc", "http2"]);
const USE_WAYPOINT = "istio.io/use-waypoint";
const AUTO_ALLOCATION = "networking.istio.io/enable-autoallocate-ip";

export function* serviceEntryProblems(entry: KubeObject): Problems {
  yield* selectorProblems(entry, "spec.workloadSelector.labels");
  yield* exclusiveProblems(entry, "spec", ["workloadSelector", "endpoints"]);
  yield* portProblems(entry, ["spec.ports[].number"]);
  for (const { path, value } of each<number>(entry, "spec.ports[].targetPort")) {
    if (value !== 0) yield* portProblems(value, [""], path);
  }
  for (const { path, value } of each<Spec>(entry, "spec")) {
    yield* hostProblems(value, path);
    yield* portListProblems(value, path, entry);
    yield* resolutionProblems(value, path, entry);
    yield* endpointListProblems(value, path);
    const namespace = entry.metadata.namespace ?? "";
    const rules = { mayBeNone: true } as const;
    yield* exportProblems(value.exportTo, [...path, "exportTo"], namespace, rules);
  }
}

function* hostProblems(spec: Spec, path: FieldPath): Problems {
  const { hosts = [], addresses = [], resolution = "NONE", endpoints = [] } = spec;
  if (hosts.length === 0) yield problem([...path, "hosts"], "must have one host at least");
  const isResolved = BY_DNS.has(resolution) && endpoints.length === 0;
  for (const [i, host] of hosts.entries()) {
    const at = [...path, "hosts", i];
    const wrong =
      host === "*" ? 'must not be "*": a domain has to follow' : wildcardHostProblem(host);
    if (wrong !== undefined) yield problem(at, wrong);
    else if (resolution === "DYNAMIC_DNS") {
      if (!host.startsWith("*")) yield problem(at, "needs a wildcard with resolution DYNAMIC_DNS");
    } else if (isPartialWildcard(host)) {
      yield warning(at, "has a wildcard for a part of a label, which no proxy matches");
    }
    if (wrong === undefined && isResolved && hostNameProblem(host) !== undefined) {
      yield problem(at, `cannot be resolved: with resolution ${resolution}, name endpoints`);
    }
  }
  for (const [i, address] of addresses.entries()) {
    const wrong = addressProblem(address);
    if (wrong !== undefined || address === "") {
      yield problem([...path, "addresses", i], wrong ?? "must not be empty");
    }
  }
  const range = addresses.findIndex((address) => address.includes("/"));
  if (range >= 0 && !WITH_RANGES.has(resolution)) {
    const only = "may be a range with resolution NONE or STATIC only";
    yield problem([...path, "addresses", range], only);
  }
}

function* portListProblems(spec: Spec, path: FieldPath, entry: KubeObject): Problems {
  const { ports = [], addresses = [] } = spec;
  const at = [...path, "ports"];
  const named = (name: string) => `a port of the name ${name}`;
  yield* unique(ports, at, ({ name }) => name, named, ["name"]);
  const numbered = (number: string) => `the port ${number}`;
  yield* unique(ports, at, ({ number }) => String(number), numbered, ["number"]);
  const hasAddresses = addresses.length > 0 || isAllocated(spec, entry);
  for (const [i, { name = "", protocol = "" }] of ports.entries()) {
    if (!isDnsLabel(name)) {
      yield problem([...at, i, "name"], 'must be a name of letters, digits and "-"');
    }
    if (protocol !== "" && protocolOf(protocol) === undefined) {
      yield problem([...at, i, "protocol"], `${JSON.stringify(protocol)} is no protocol`);
    }
    if (!hasAddresses && (protocol === "" || protocol === "TCP")) {
      const needed = "is told from others by its address only: give the ServiceEntry addresses";
      yield warning([...at, i], needed);
    }
  }
}

/** istiod gives an address to what has none, unless it is told not to, or could not. */
function isAllocated({ hosts = [], resolution = "NONE" }: Spec, { metadata }: KubeObject): boolean {
  const wanted = metadata.labels?.[AUTO_ALLOCATION] ?? metadata.annotations?.[AUTO_ALLOCATION];
  if (wanted !== undefined && wanted.toLowerCase() !== "true") return false;
  const isPlain = hosts.every((host) => !host.includes("*"));
  return resolution !== "NONE" && isPlain;
}

function* resolutionProblems(spec: Spec, path: FieldPath, entry: KubeObject): Problems {
  const { hosts = [], ports = [], addresses, endpoints, resolution = "NONE" } = spec;
  const at = [...path, "endpoints"];
  if (resolution === "NONE") {
    if (endpoints !== undefined)
      yield problem(at, "are not for resolution NONE: clients name them");
    if (spec.workloadSelector !== undefined) {
      yield warning([...path, "workloadSelector"], "has no effect with resolution NONE");
    }
    return;
  }
  if (resolution === "DNS_ROUND_ROBIN" && (endpoints?.length ?? 0) > 1) {
    yield problem(at, "may be one at most with resolution DNS_ROUND_ROBIN");
  }
  if (resolution === "DYNAMIC_DNS") yield* dynamicProblems(spec, path, entry);
  if (hosts.length < 2) return;
  const plain = ports.findIndex(({ protocol }) => {
    const { isHttp, isTls } = protocolOf(protocol) ?? {};
    return !isHttp && !isTls;
  });
  if (plain >= 0) {
    const why = "tells several hosts apart neither by HTTP nor by TLS";
    yield problem([...path, "ports", plain, "protocol"], why);
  }
  const hasTcp = ports.some(({ protocol }) => protocolOf(protocol)?.isTcp);
  if (BY_DNS.has(resolution) && (addresses?.length ?? 0) > 0 && hasTcp) {
    yield warning([...path, "hosts"], "of one address and a TCP port are all the first one");
  }
}

function* dynamicProblems(spec: Spec, path: FieldPath, { metadata }: KubeObject): Problems {
  const { addresses = [], endpoints = [], ports = [], location = "MESH_EXTERNAL" } = spec;
  const mode = "with resolution DYNAMIC_DNS, where the host of each request is resolved";
  if (addresses.length > 0) yield problem([...path, "addresses"], `are not given ${mode}`);
  if (endpoints.length > 0) yield problem([...path, "endpoints"], `are not given ${mode}`);
  for (const [i, { protocol = "" }] of ports.entries()) {
    if (DYNAMIC_PROTOCOLS.has(protocol.toLowerCase())) continue;
    yield problem([...path, "ports", i, "protocol"], `must be HTTP, HTTP2, GRPC or TLS ${mode}`);
  }
  const waypoint = metadata.labels?.[USE_WAYPOINT] ?? "";
  const hasWaypoint = waypoint !== "" && waypoint.toLowerCase() !== "none";
  if (location === "MESH_INTERNAL" && hasWaypoint) {
    yield problem([...path, "location"], "must be MESH_EXTERNAL for a waypoint to resolve hosts");
  }
}

function* endpointListProblems(spec: Spec, path: FieldPath): Problems {
  const { ports = [], endpoints = [], resolution = "NONE" } = spec;
  const servicePorts = new Set(ports.map(({ name = "" }) => name));
  const rules = { servicePorts, isAddressOnly: resolution === "STATIC" };
  for (const [i, endpoint] of endpoints.entries()) {
    yield* endpointProblems(endpoint, [...path, "endpoints", i], rules);
  }
}
