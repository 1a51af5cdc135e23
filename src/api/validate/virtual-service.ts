/** What a schema cannot say of a VirtualService. */
import { isIP } from "node:net";
import type { FieldPath, KubeObject } from "../object.ts";
import { addressProblem } from "./attribute-values.ts";
import { hostsOverlap, isHostSubset, wildcardHostProblem } from "./dns-names.ts";
import { exportProblems } from "./export-to.ts";
import { gatewayNameProblems } from "./gateway-names.ts";
import { isClaim } from "./header-values.ts";
import { labelProblems, portProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem, warning } from "./problem.ts";
import { coveredProblems, unreachableProblems } from "./unreachable-routes.ts";
import {
  destinationsProblems,
  type HttpRoute,
  httpRouteProblems,
  type WeightedDestination,
} from "./virtual-route.ts";

interface L4Match {
  readonly destinationSubnets?: readonly string[];
  readonly port?: number;
  readonly sourceLabels?: Readonly<Record<string, string>>;
  readonly gateways?: readonly string[];
  readonly sniHosts?: readonly string[];
}

interface L4Route {
  readonly match?: readonly (L4Match | null)[];
  readonly route?: readonly (WeightedDestination | null)[];
}

interface Spec {
  readonly hosts?: readonly string[];
  readonly gateways?: readonly string[];
  readonly http?: readonly (HttpRoute | null)[];
  readonly tls?: readonly (L4Route | null)[];
  readonly tcp?: readonly (L4Route | null)[];
  readonly exportTo?: readonly string[];
}

const MESH = "mesh";
/** istiod makes such objects of Gateway API's, and says so here. */
const SEMANTICS = "internal.istio.io/route-semantics";
/** What istiod calls a port of a host by, for a gateway that passes TLS on. */
const GENERATED_SNI = /^outbound_\.?[^_]*\d[^_]*_[^_]*_\.?.*[a-zA-Z]/;

export function* virtualServiceProblems(service: KubeObject): Problems {
  const { namespace = "", annotations } = service.metadata;
  const isConverted = annotations?.[SEMANTICS] === "gateway";
  for (const { path, value: spec } of each<Spec>(service, "spec")) {
    const { hosts = [], gateways = [], http = [], tls = [], tcp = [] } = spec;
    const isDelegate = hosts.length === 0;
    if (isDelegate) yield* delegateProblems(spec, path);
    yield* gatewayNameProblems(gateways, [...path, "gateways"], isConverted);
    const isForMesh = gateways.length === 0 || gateways.includes(MESH);
    if (isForMesh) yield* claimProblems(service);
    yield* hostProblems(spec, path, isForMesh);
    if (http.length + tls.length + tcp.length === 0) {
      yield problem([...path, "http"], "is required, or tls or tcp");
    }
    for (const [i, route] of http.entries()) {
      const at = [...path, "http", i];
      if (route === null) yield problem(at, "must not be null");
      else yield* httpRouteProblems(route, at, isDelegate);
    }
    yield* l4Problems(tls, [...path, "tls"], (match, at) => sniProblems(match, at, spec));
    yield* l4Problems(tcp, [...path, "tcp"]);
    yield* exportProblems(spec.exportTo, [...path, "exportTo"], namespace);
    for (const [kind, routes] of Object.entries({ http, tls, tcp })) {
      yield* unreachableProblems(routes, [...path, kind]);
    }
    yield* coveredProblems(http, [...path, "http"]);
  }
}

function* delegateProblems(spec: Spec, path: FieldPath): Problems {
  for (const field of ["gateways", "tls", "tcp"] as const) {
    if ((spec[field]?.length ?? 0) === 0) continue;
    yield problem([...path, field], "is not for a delegate: a VirtualService without hosts is one");
  }
}

/** Tokens are verified before a route is chosen at gateways only. */
function* claimProblems(service: unknown): Problems {
  for (const field of ["headers", "withoutHeaders"]) {
    for (const { path } of each<unknown>(service, `spec.http[].match[].${field}{}`)) {
      if (isClaim(String(path.at(-1)))) yield problem(path, "is for gateways only");
    }
  }
}

function* hostProblems(spec: Spec, path: FieldPath, isForMesh: boolean): Problems {
  const { hosts = [], tls = [] } = spec;
  const hasSni = tls.some((one) => one?.match?.some((match) => (match?.sniHosts?.length ?? 0) > 0));
  let isGood = true;
  for (const [i, host] of hosts.entries()) {
    const isGenerated = !isForMesh && hasSni && GENERATED_SNI.test(host);
    const wrong =
      isGenerated || isIP(host) !== 0
        ? undefined
        : host === "*" && isForMesh
          ? 'must not be "*" for clients of the mesh'
          : wildcardHostProblem(host);
    if (wrong === undefined) continue;
    isGood = false;
    yield problem([...path, "hosts", i], wrong);
  }
  if (!isGood) return;
  for (const [i, host] of hosts.entries()) {
    const other = hosts.findIndex((one, j) => j < i && hostsOverlap(one, host));
    if (other >= 0) yield problem([...path, "hosts", i], `is among ${hosts[other]} already`);
  }
}

function* l4Problems(
  routes: readonly (L4Route | null)[],
  path: FieldPath,
  sni?: (match: L4Match, path: FieldPath) => Problems,
): Problems {
  for (const [i, route] of routes.entries()) {
    if (route === null) continue;
    const at = [...path, i];
    const { match = [], route: destinations = [] } = route;
    if (sni !== undefined && match.length === 0) yield problem([...at, "match"], "is required");
    for (const [j, one] of match.entries()) {
      const place = [...at, "match", j];
      if (one === null) {
        yield problem(place, "must not be null");
        continue;
      }
      if (sni !== undefined) yield* sni(one, place);
      yield* l4MatchProblems(one, place);
    }
    if (destinations.length === 0) yield problem([...at, "route"], "is required");
    yield* destinationsProblems(destinations, [...at, "route"]);
  }
}

function* l4MatchProblems(match: L4Match, path: FieldPath): Problems {
  for (const [i, subnet] of (match.destinationSubnets ?? []).entries()) {
    const wrong = subnet === "" ? "must not be empty" : addressProblem(subnet);
    if (wrong !== undefined) yield problem([...path, "destinationSubnets", i], wrong);
  }
  if ((match.port ?? 0) !== 0) yield* portProblems(match, ["port"], path);
  yield* labelProblems(match.sourceLabels, [...path, "sourceLabels"]);
  yield* gatewayNameProblems(match.gateways ?? [], [...path, "gateways"]);
}

function* sniProblems(match: L4Match, path: FieldPath, spec: Spec): Problems {
  const { sniHosts = [] } = match;
  if (sniHosts.length === 0) yield problem([...path, "sniHosts"], "is required");
  const isForMesh = spec.gateways?.includes(MESH) ?? false;
  for (const [i, host] of sniHosts.entries()) {
    const at = [...path, "sniHosts", i];
    const isGenerated = !isForMesh && GENERATED_SNI.test(host);
    const wrong = isGenerated ? undefined : wildcardHostProblem(host);
    if (isIP(host) !== 0) yield warning(at, "is an address, which clients do not name in TLS");
    else if (wrong !== undefined) yield problem(at, wrong);
    else if (!(spec.hosts ?? []).some((one) => isHostSubset(host, one))) {
      yield problem(at, "is among none of the hosts");
    }
  }
}
