/** What a schema cannot say of the Gateway API's policies for backends, and of TLSRoutes. */
import { isIP } from "node:net";
import { parseGoDuration } from "../../kit/go-duration.ts";
import type { FieldPath, KubeObject } from "../object.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { routeProblems } from "./route-parents.ts";
import { sessionFieldProblems, sessionProblems } from "./session-persistence.ts";
import { unique } from "./uniqueness.ts";

interface TargetRef {
  readonly group: string;
  readonly kind: string;
  readonly name: string;
  readonly sectionName?: string;
}

interface Validation {
  readonly caCertificateRefs?: readonly unknown[];
  readonly wellKnownCACertificates?: string;
}

interface SubjectAltName {
  readonly type: string;
  readonly hostname?: string;
  readonly uri?: string;
}

const SECOND_MS = 1000;
const HOUR_MS = 3_600_000;

export function* backendTlsPolicyProblems(policy: unknown): Problems {
  for (const { path, value } of each<readonly TargetRef[]>(policy, "spec.targetRefs")) {
    yield* targetProblems(value, path);
  }
  for (const { path, value } of each<Validation>(policy, "spec.validation")) {
    const hasRefs = (value.caCertificateRefs ?? []).length > 0;
    const hasKnown = (value.wellKnownCACertificates ?? "") !== "";
    if (hasRefs && hasKnown) {
      yield problem(
        [...path, "wellKnownCACertificates"],
        "and caCertificateRefs exclude each other",
      );
    }
    if (!hasRefs && !hasKnown) {
      yield problem(path, "needs caCertificateRefs or wellKnownCACertificates");
    }
  }
  const names = "spec.validation.subjectAltNames[]";
  for (const { path, value } of each<SubjectAltName>(policy, names)) {
    for (const [type, field] of [
      ["Hostname", "hostname"],
      ["URI", "uri"],
    ] as const) {
      const isThere = (value[field] ?? "") !== "";
      if (value.type === type && !isThere) {
        yield problem([...path, field], `is required for the type ${type}`);
      }
      if (value.type !== type && isThere) {
        yield problem([...path, field], `is for the type ${type} only`);
      }
    }
  }
}

/** One target may be named several times, each time another section of it. */
function* targetProblems(refs: readonly TargetRef[], path: FieldPath): Problems {
  const targetOf = ({ group, kind, name }: TargetRef) => [group, kind, name].join("\0");
  for (const [i, ref] of refs.entries()) {
    if ((ref.sectionName ?? "") !== "") continue;
    const same = refs.filter((other, j) => j !== i && targetOf(other) === targetOf(ref));
    const isSecond = refs.findIndex((other) => targetOf(other) === targetOf(ref)) < i;
    if (!isSecond && !same.some(({ sectionName = "" }) => sectionName !== "")) continue;
    const needed = "is required where a target is named more than once";
    yield problem([...path, i, "sectionName"], needed);
  }
  const key = (ref: TargetRef) => {
    const { sectionName = "" } = ref;
    return sectionName === "" ? undefined : `${targetOf(ref)}\0${sectionName}`;
  };
  yield* unique(refs, path, key, () => "the same section of the same target", ["sectionName"]);
}

export function* backendTrafficPolicyProblems(policy: unknown): Problems {
  for (const { path, value } of each<readonly TargetRef[]>(policy, "spec.targetRefs")) {
    const key = ({ group, kind, name }: TargetRef) => [group, kind, name].join("/");
    yield* unique(value, path, key, (target) => `the target ${target}`);
  }
  for (const { path, value } of each<object>(policy, "spec")) {
    yield* sessionProblems(value, path);
    yield* sessionFieldProblems(value, path);
  }
  const budget = "spec.retryConstraint.budget.interval";
  for (const { path, value } of each<string>(policy, budget)) {
    yield* intervalProblems(value, path, SECOND_MS, "from 1s");
  }
  const rate = "spec.retryConstraint.minRetryRate.interval";
  for (const { path, value } of each<string>(policy, rate)) {
    yield* intervalProblems(value, path, Number.MIN_VALUE, "above 0s");
  }
}

function* intervalProblems(text: string, path: FieldPath, leastMs: number, from: string): Problems {
  const ms = parseGoDuration(text);
  if (ms === undefined || (ms >= leastMs && ms <= HOUR_MS)) return;
  yield problem(path, `must be ${from} to 1h`);
}

/** Since v1 a route has one rule; before, rules had names. */
export function* tcpRouteProblems(route: KubeObject): Problems {
  yield* routeProblems(route);
  if (isOfOld(route)) return;
  for (const { path, value } of each<readonly unknown[]>(route, "spec.rules")) {
    if (value.length > 1) yield problem(path, "may be one only since v1: split the route");
  }
}

/** A TLSRoute has names of hosts: always, but for the first version. */
export function* tlsRouteProblems(route: KubeObject): Problems {
  yield* tcpRouteProblems(route);
  for (const { path, value } of each<string>(route, "spec.hostnames[]")) {
    if (isIP(value) !== 0) yield problem(path, "must be a host name, not an address");
  }
  if (isOfOld(route)) return;
  for (const { path, value } of each<{ hostnames?: readonly string[] }>(route, "spec")) {
    if ((value.hostnames ?? []).length > 0) continue;
    yield problem([...path, "hostnames"], "must have one host at least");
  }
}

function isOfOld({ apiVersion }: KubeObject): boolean {
  return apiVersion.endsWith("/v1alpha2");
}
