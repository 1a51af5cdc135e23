/**
 * Which of the attached routes count (GEP-1294, D6).
 *
 *     consumer   those of the client's namespace for another's service, before
 *     service    those of the service's own, before
 *     gateway    those of the whole waypoint: only for a Service without any of its own
 *
 * Of several kinds on one port one counts: GRPCRoute before HTTPRoute, TLSRoute, TCPRoute.
 */
import { parseIdentity } from "../model/identity.ts";
import type { AttachedRoute, Route } from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";

export interface AppliedRoutes {
  readonly from: "consumer" | "service" | "gateway" | "default";
  /** All of one kind. */
  readonly routes: readonly AttachedRoute[];
}

export interface RouteSets {
  /** Of the service: producer and consumer routes. */
  readonly own: readonly AttachedRoute[];
  /** Of the waypoint. */
  readonly shared: readonly AttachedRoute[];
}

const NO_ROUTES: readonly AttachedRoute[] = [];
export const DEFAULT_ROUTES: AppliedRoutes = { from: "default", routes: NO_ROUTES };

/** The same lists while the configuration is. */
export function routeSets(snapshot: Snapshot, waypoint: string, service: string): RouteSets {
  return {
    own: snapshot.routes.get(`Service/${service}`) ?? NO_ROUTES,
    shared: snapshot.routes.get(`Gateway/${waypoint}`) ?? NO_ROUTES,
  };
}

/** `client`: its namespace; undefined when nobody is proven. */
export function appliedRoutes(
  { own, shared }: RouteSets,
  port: number,
  client: string | undefined,
): AppliedRoutes {
  const here = own.filter((attached) => appliesToPort(attached, port));
  const consumers = here.filter(({ consumer }) => consumer !== undefined && consumer === client);
  if (consumers.length > 0) return { from: "consumer", routes: ofOneKind(consumers) };
  const producers = here.filter(({ consumer }) => consumer === undefined);
  if (producers.length > 0) return { from: "service", routes: ofOneKind(producers) };
  // A route of its own for another port keeps the waypoint's away, too.
  if (own.some(({ consumer }) => consumer === undefined)) return DEFAULT_ROUTES;
  return shared.length > 0 ? { from: "gateway", routes: ofOneKind(shared) } : DEFAULT_ROUTES;
}

/** Namespaces that have routes for this service as its consumers. */
export function consumersOf({ own }: RouteSets): ReadonlySet<string> {
  return new Set(own.flatMap(({ consumer }) => (consumer === undefined ? [] : [consumer])));
}

export function clientNamespace(identity: string | undefined): string | undefined {
  return identity === undefined ? undefined : parseIdentity(identity)?.namespace;
}

/** Whether the route is followed on this service port. */
function appliesToPort(attached: AttachedRoute, port: number): boolean {
  return attached.ports.length === 0 || attached.ports.includes(port);
}

const BY_SPECIFICITY: readonly Route["kind"][] = ["GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute"];

function ofOneKind(routes: readonly AttachedRoute[]): readonly AttachedRoute[] {
  const kinds = new Set(routes.map(({ route }) => route.kind));
  if (kinds.size <= 1) return routes;
  const first = BY_SPECIFICITY.find((kind) => kinds.has(kind));
  return routes.filter(({ route }) => route.kind === first);
}
