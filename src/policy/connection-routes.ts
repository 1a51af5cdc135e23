/**
 * TLSRoutes and TCPRoutes of a port, compiled. A TLSRoute is chosen by the server name that the
 * client asks for: the exact one first, then wildcards from the longest, then routes without names;
 * of several the oldest. Of TCPRoutes there is nothing to tell them apart by: the oldest counts.
 * Only a route's first rule does (Gateway API allows no more).
 */
import type {
  AttachedRoute,
  Backend,
  ConnectionRoute,
  ConnectionRouteRule,
  HttpRoute,
  HttpRouteRule,
} from "../model/route.ts";
import { matchingHostnames } from "./match/host.ts";
import { drawBackend, routeName, totalWeight } from "./route-order.ts";
import type { ConnectionChoice } from "./verdict.ts";

export class WeightedConnections implements ConnectionChoice {
  readonly route: ConnectionRoute;
  readonly rule: ConnectionRouteRule;
  readonly name: string;
  readonly #total: number;

  constructor(route: ConnectionRoute, rule: ConnectionRouteRule) {
    this.route = route;
    this.rule = rule;
    this.name = routeName(route, rule);
    this.#total = totalWeight(rule);
  }

  chooseBackend(draw: number): Backend | undefined {
    return drawBackend(this.rule.backends, this.#total, draw);
  }
}

/** Where connections of one port go. */
export interface ConnectionPlan {
  /** Whether the server name has to be known first. */
  readonly needsServerName: boolean;
  /** `undefined`: routes exist, and none is for this one. */
  choose(serverName: string | undefined): ConnectionChoice | undefined;
}

export class ServerNamePlan implements ConnectionPlan {
  readonly needsServerName = true;
  readonly #byName = new Map<string, ConnectionChoice>();

  constructor(routes: readonly AttachedRoute<ConnectionRoute>[]) {
    for (const { route } of oldestFirst(routes)) {
      const [rule] = route.rules;
      if (rule === undefined) continue;
      const choice = new WeightedConnections(route, rule);
      for (const name of route.hostnames.length > 0 ? route.hostnames : ["*"]) {
        if (!this.#byName.has(name)) this.#byName.set(name, choice);
      }
    }
  }

  choose(serverName: string | undefined): ConnectionChoice | undefined {
    // Without a name there is only what names none.
    if (serverName === undefined) return this.#byName.get("*");
    for (const name of matchingHostnames.get(serverName.toLowerCase())) {
      const choice = this.#byName.get(name);
      if (choice !== undefined) return choice;
    }
    return undefined;
  }
}

export class OldestPlan implements ConnectionPlan {
  readonly needsServerName = false;
  readonly #choice: ConnectionChoice | undefined;

  constructor(routes: readonly AttachedRoute<ConnectionRoute>[]) {
    const [first] = oldestFirst(routes);
    const rule = first?.route.rules[0];
    this.#choice = first && rule && new WeightedConnections(first.route, rule);
  }

  choose(_serverName: string | undefined): ConnectionChoice | undefined {
    return this.#choice;
  }
}

export function oldestFirst(
  routes: readonly AttachedRoute<ConnectionRoute>[],
): readonly AttachedRoute<ConnectionRoute>[] {
  const byKey = (a: string, b: string) => (a < b ? -1 : Number(a > b));
  return routes.toSorted(
    (a, b) => a.route.createdMs - b.route.createdMs || byKey(a.route.key, b.route.key),
  );
}

/** A TCPRoute, for requests on a port that speaks HTTP: all of them follow it. */
export function asHttpRoute(route: ConnectionRoute): HttpRoute {
  return {
    ...route,
    kind: "HTTPRoute",
    hostnames: [],
    rules: route.rules.slice(0, 1).map(asHttpRule),
  };
}

function asHttpRule(rule: ConnectionRouteRule): HttpRouteRule {
  return {
    ...rule,
    matches: [],
    filters: [],
    backends: rule.backends.map((backend) => ({ ...backend, filters: [] })),
    problem: undefined,
    requestTimeoutMs: 0,
    backendRequestTimeoutMs: 0,
    retry: undefined,
    sessionPersistence: undefined,
  };
}
