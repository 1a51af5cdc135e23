/** The end of a route's trace: the rule, its backend by the draw, and what else the rule does. */
import type {
  Backend,
  ConnectionRouteRule,
  HttpBackend,
  HttpRouteRule,
  Route,
} from "../model/route.ts";
import { totalWeight } from "./route-order.ts";
import type { ChosenRouteTrace } from "./trace.ts";

/** Where no route has a say; undefined: to the workload that was addressed. */
export function defaultBackend(service: string | undefined, port: number): HttpBackend | undefined {
  if (service === undefined) return undefined;
  return { weight: 1, service, port, problem: undefined, position: undefined, filters: [] };
}

/** To the service that was addressed; without one, to the workload. */
export function chosenDefault(service: string | undefined, port: number): ChosenRouteTrace {
  return {
    kind: undefined,
    route: undefined,
    rule: undefined,
    service,
    port,
    weight: 1,
    totalWeight: 1,
    problem: undefined,
    status: undefined,
    effects: [],
    position: undefined,
  };
}

/** What requests and connections have in common. `backend`: where the draw falls. */
export function chosenRule(
  route: Route,
  rule: HttpRouteRule | ConnectionRouteRule,
  backend: Backend | undefined,
): ChosenRouteTrace {
  return {
    kind: route.kind,
    route: route.key,
    rule: rule.index,
    service: backend?.service,
    port: backend?.port ?? 0,
    weight: backend?.weight ?? 0,
    totalWeight: totalWeight(rule),
    problem: backend ? backend.problem : "no backend has a weight",
    status: undefined,
    effects: [],
    position: backend?.position ?? rule.position ?? route.position,
  };
}
