/**
 * What keeps traffic from going past a waypoint (D4): on the target ports of a bound service, a
 * DENY for everybody but the waypoint, in a form that every ztunnel evaluates.
 *
 * Many pods share one guard. Its name follows from what is in it: the bound services a pod stands
 * behind, the ports it serves there, and the pod's own waypoint. Where several
 * bound services share a target port, the waypoints of all of them may use it.
 *
 * Exempt are: the waypoint of traffic addressed to the workload itself; Gateways that bring
 * traffic in from outside, unless the service says `istio.io/ingress-use-waypoint`; services
 * without a virtual IP, whose clients address the pods and so never meet the waypoint. None with
 * `compatibility: istio`.
 */
import { principalOf } from "../model/identity.ts";
import type { ObjectRef, SourcePosition } from "../model/object-ref.ts";
import type { L4Match, L4Policy, L4Rule } from "../model/rule.ts";
import type { WaypointBinding } from "../model/waypoint.ts";
import type { WaypointChoice } from "./bindings.ts";
import { EMPTY_MATCH } from "./l4-match.ts";
import { compareText } from "./object-names.ts";
import type { Surroundings } from "./surroundings.ts";
import type { ServiceMembership } from "./workload-parts.ts";

export interface WaypointGuard {
  /** `<ns>/<name>` of the policy. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly services: readonly GuardedService[];
  /** The waypoint of the workload itself. */
  readonly workloadWaypoint: string | undefined;
}

interface GuardedService {
  readonly hostname: string;
  readonly waypoint: WaypointBinding;
  readonly ingressUseWaypoint: boolean;
  /** Target ports. */
  readonly ports: readonly number[];
  readonly source: ObjectRef;
  readonly position: SourcePosition | undefined;
}

const PREFIX = "waystone-waypoint-only";

/** The guard of a workload; `undefined` when anybody may reach it. */
export function guardOf(
  namespace: string,
  memberships: readonly ServiceMembership[],
  own: WaypointChoice,
  near: Pick<Surroundings, "settings">,
): WaypointGuard | undefined {
  if (near.settings.compatibility === "istio") return undefined;
  const services: GuardedService[] = [];
  const parts: string[] = [];
  for (const { facts, ports } of memberships) {
    const { service } = facts;
    if (service.waypoint === undefined || service.addresses.length === 0 || ports.size === 0)
      continue;
    const numbers = [...new Set(ports.values())].sort((a, b) => a - b);
    parts.push(`${facts.entry === undefined ? service.name : service.hostname}:${numbers.join()}`);
    services.push({
      hostname: service.hostname,
      waypoint: service.waypoint,
      ingressUseWaypoint: service.ingressUseWaypoint,
      ports: numbers,
      source: service.source,
      position: service.position,
    });
  }
  if (services.length === 0) return undefined;
  const workloadWaypoint = own.binding?.state === "bound" ? own.binding.waypoint : undefined;
  if (workloadWaypoint !== undefined) parts.push(`@${workloadWaypoint.replace("/", ".")}`);
  // Colons stand in no name of Kubernetes, so that no other set of services has this name.
  const name = [PREFIX, ...parts].join(":");
  return { key: `${namespace}/${name}`, namespace, name, services, workloadWaypoint };
}

type GuardSurroundings = Pick<Surroundings, "waypoint" | "ingressIdentities">;

/** The guard as a policy. */
export function translateGuard(guard: WaypointGuard, near: GuardSurroundings): L4Policy {
  const first = guard.services[0]!;
  return {
    key: guard.key,
    namespace: guard.namespace,
    name: guard.name,
    scope: "WORKLOAD_SELECTOR",
    action: "DENY",
    rules: guardRules(guard, near),
    isDryRun: false,
    source: first.source,
    position: first.position,
    because: reasonOf(guard),
  };
}

function guardRules(guard: WaypointGuard, near: GuardSurroundings): readonly L4Rule[] {
  const admitted = new Map<number, Set<string>>();
  const shared = identitiesOf(guard.workloadWaypoint, near);
  for (const service of guard.services) {
    const { waypoint, ingressUseWaypoint } = service;
    const own = mayServe(waypoint) ? identitiesOf(waypoint.waypoint, near) : [];
    const ingress = ingressUseWaypoint ? [] : near.ingressIdentities();
    for (const port of service.ports) {
      const identities = admitted.get(port) ?? new Set(shared);
      for (const identity of [...own, ...ingress]) identities.add(identity);
      admitted.set(port, identities);
    }
  }
  const matches = new Map<string, L4Match>();
  for (const [port, identities] of [...admitted].sort(([a], [b]) => a - b)) {
    const principals = [...identities].map(principalOf).sort(compareText);
    const same = matches.get(principals.join());
    matches.set(principals.join(), {
      ...EMPTY_MATCH,
      notPrincipals: principals.map((value) => ({ type: "exact", value })),
      destinationPorts: [...(same?.destinationPorts ?? []), port],
    });
  }
  const { position } = guard.services[0]!;
  return [...matches.values()].map((match) => ({ clauses: [[match]], position }));
}

/** One that is not ready may finish what it has begun: pods come and go in every roll-out. */
function mayServe(waypoint: WaypointBinding): boolean {
  return waypoint.state === "bound" || waypoint.reason === "WaypointIsNotReady";
}

function identitiesOf(waypoint: string | undefined, near: GuardSurroundings): readonly string[] {
  if (waypoint === undefined) return [];
  return near.waypoint(waypoint)?.waypoint.identities ?? [];
}

function reasonOf(guard: WaypointGuard): string {
  return guard.services
    .map(({ hostname, waypoint, ports }) => {
      const where = `port ${ports.join(", ")} of ${hostname}`;
      return mayServe(waypoint)
        ? `only waypoint ${waypoint.waypoint} may reach ${where}`
        : `nobody may reach ${where}: waypoint ${waypoint.waypoint} is not theirs to use`;
    })
    .join("; ");
}
