/**
 * TLSRoutes and TCPRoutes, followed for a trace: looks at each, and says why it is not the one. The
 * plans of `connection-routes.ts` must come to the same.
 */
import { type AttachedRoute, type ConnectionRoute, isConnectionRoute } from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { appliedRoutes, clientNamespace, routeSets } from "./applied-routes.ts";
import { DefaultChoice } from "./compile-routes.ts";
import { oldestFirst, WeightedConnections } from "./connection-routes.ts";
import type { ConnectionFacts } from "./facts.ts";
import { hostnameSpecificity } from "./match/host.ts";
import { orderReason } from "./outranked.ts";
import { passedOver, passedOverRoutes } from "./passed-over.ts";
import type { PassedOverTrace, RouteCandidateTrace, RouteTrace } from "./trace.ts";
import { chosenDefault, chosenRule, defaultBackend } from "./trace-chosen.ts";
import type { ConnectionChoice } from "./verdict.ts";

export interface TracedConnection {
  readonly choice: ConnectionChoice | undefined;
  readonly trace: RouteTrace;
}

/** `service` is undefined for traffic addressed to a workload, which no route touches. */
export function traceConnection(
  snapshot: Snapshot,
  waypoint: string,
  service: string | undefined,
  port: number,
  facts: ConnectionFacts,
  draw: number,
): TracedConnection {
  if (service === undefined) return defaultRoute(undefined, port, []);
  const sets = routeSets(snapshot, waypoint, service);
  const client = clientNamespace(facts.sourceIdentity);
  const applied = appliedRoutes(sets, port, client);
  const passed = passedOverRoutes(sets, applied, port, client);
  const connections = applied.routes.filter(isConnectionRoute);
  if (connections.length === 0) {
    const others = applied.routes.map(({ route }) => passedOver(route, "it is for requests"));
    return defaultRoute(service, port, [...passed, ...others]);
  }
  const { chosen, others } = chooseConnection(connections, facts.serverName?.toLowerCase());
  const trace = { from: applied.from, passedOver: [...passed, ...others], notes: [] };
  const rule = chosen?.rules[0];
  if (chosen === undefined || rule === undefined) {
    return { choice: undefined, trace: { ...trace, candidates: [], chosen: undefined } };
  }
  const choice = new WeightedConnections(chosen, rule);
  const end = chosenRule(chosen, rule, choice.chooseBackend(draw));
  return { choice, trace: { ...trace, candidates: [candidate(chosen)], chosen: end } };
}

interface NamedConnectionRoute {
  readonly route: ConnectionRoute;
  /** How specific the best of its host names is that takes the server name. */
  readonly names: number;
}

/** The most specific server name decides, then the age and the name of the route. */
function chooseConnection(
  routes: readonly AttachedRoute<ConnectionRoute>[],
  serverName: string | undefined,
) {
  const named: NamedConnectionRoute[] = [];
  const others: PassedOverTrace[] = [];
  for (const { route } of oldestFirst(routes)) {
    const names = route.kind === "TCPRoute" ? 0 : specificityOf(route, serverName);
    if (names === undefined) {
      const wanted = route.hostnames.join(" or ");
      others.push(
        passedOver(route, `it is for server name ${wanted}, saw ${serverName ?? "none"}`),
      );
    } else if (route.kind === "TLSRoute" && route.rules.length === 0) {
      others.push(passedOver(route, "it has no rule"));
    } else named.push({ route, names });
  }
  const [first, ...rest] = named.sort((a, b) => b.names - a.names);
  for (const { route, names } of rest) {
    const reason =
      names < first!.names ? "names the server more closely" : orderReason(first!.route, route);
    others.push(passedOver(route, `${first!.route.key} ${reason}`));
  }
  return { chosen: first?.route, others };
}

/** `undefined`: it is not for this server. Without a name there is only what names none. */
function specificityOf({ hostnames }: ConnectionRoute, serverName: string | undefined) {
  if (serverName !== undefined) return hostnameSpecificity(hostnames, serverName);
  return hostnames.length === 0 || hostnames.includes("*") ? 0 : undefined;
}

function candidate(route: ConnectionRoute): RouteCandidateTrace {
  const { kind, key, rules, position } = route;
  const [rule] = rules;
  return {
    kind,
    route: key,
    rule: rule?.index ?? 0,
    match: 0,
    isMatched: true,
    failed: undefined,
    position: rule?.position ?? position,
  };
}

function defaultRoute(
  service: string | undefined,
  port: number,
  passedOver: readonly PassedOverTrace[],
): TracedConnection {
  const chosen = chosenDefault(service, port);
  return {
    choice: new DefaultChoice(defaultBackend(service, port)),
    trace: { from: "default", candidates: [], passedOver, chosen, notes: [] },
  };
}
