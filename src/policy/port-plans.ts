/**
 * What the routes of one port come to: for everybody, and for clients of namespaces that have
 * routes of their own for the service (consumers).
 */
import { type HttpRoute, isConnectionRoute, isHttpRoute } from "../model/route.ts";
import {
  type AppliedRoutes,
  appliedRoutes,
  clientNamespace,
  consumersOf,
  type RouteSets,
} from "./applied-routes.ts";
import {
  GatewayRoutePlan,
  NO_ROUTE_PLAN,
  type RoutePlan,
  ServiceRoutePlan,
} from "./compile-routes.ts";
import {
  asHttpRoute,
  type ConnectionPlan,
  OldestPlan,
  ServerNamePlan,
} from "./connection-routes.ts";

export interface PortPlan {
  readonly http: RoutePlan;
  /** undefined: connections go to the service that was addressed. */
  readonly connections: ConnectionPlan | undefined;
}

/** For the clients of one port. */
export class PortPlans {
  readonly #everybody: PortPlan;
  readonly #consumers: ReadonlyMap<string, PortPlan>;
  readonly needsServerName: boolean;

  constructor(everybody: PortPlan, consumers: ReadonlyMap<string, PortPlan>) {
    this.#everybody = everybody;
    this.#consumers = consumers;
    this.needsServerName = [everybody, ...consumers.values()].some(
      ({ connections }) => connections?.needsServerName ?? false,
    );
  }

  /** `identity`: the client's. */
  of(identity: string | undefined): PortPlan {
    if (this.#consumers.size === 0) return this.#everybody;
    const client = clientNamespace(identity);
    return (client !== undefined && this.#consumers.get(client)) || this.#everybody;
  }
}

export function plansOf(sets: RouteSets, port: number): PortPlans {
  const consumers = new Map<string, PortPlan>();
  for (const client of consumersOf(sets)) {
    const applied = appliedRoutes(sets, port, client);
    if (applied.from === "consumer") consumers.set(client, planOf(applied));
  }
  return new PortPlans(planOf(appliedRoutes(sets, port, undefined)), consumers);
}

function planOf({ from, routes }: AppliedRoutes): PortPlan {
  const requests = routes.filter(isHttpRoute);
  if (requests.length > 0) {
    const isGateway = from === "gateway";
    const http = isGateway ? new GatewayRoutePlan(requests) : new ServiceRoutePlan(requests);
    return { http, connections: undefined };
  }
  const connections = routes.filter(isConnectionRoute);
  const [first] = connections;
  if (first === undefined) return { http: NO_ROUTE_PLAN, connections: undefined };
  if (first.route.kind === "TLSRoute") {
    return { http: NO_ROUTE_PLAN, connections: new ServerNamePlan(connections) };
  }
  // Requests on such a port follow it as well, or its weights would hold for nobody.
  const asHttp = connections.map(({ route }): { route: HttpRoute; ports: [] } => ({
    route: asHttpRoute(route),
    ports: [],
  }));
  return { http: new ServiceRoutePlan(asHttp), connections: new OldestPlan(connections) };
}
