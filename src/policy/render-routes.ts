/**
 * The routes of a traced decision as text: where it goes and by which rule, what the rule does
 * besides, then what was tried or not even looked into, and why.
 *
 *     ROUTE by HTTPRoute default/reviews rule 1 (routes.yaml:9:5) → reviews-v1:80 (weight 9 of 10)
 *       RequestMirror: 10 % to reviews-v2:9080
 *       not default/reviews rule 0 (routes.yaml:7:5): header x-user: wanted me (Exact), saw none
 *       passed over: HTTPRoute default/other (other.yaml:1:1): it is for port 80, not 9080
 */
import { formatPosition, type SourcePosition } from "../model/object-ref.ts";
import { backendName } from "./backend-name.ts";
import type { ChosenRouteTrace, RouteTrace } from "./trace.ts";

/** Lists longer than this are cut short, and say so. */
const SHOWN_MAX = 12;

/** `isHttp`: of a request, not of a connection. */
export function routeLines(routes: RouteTrace, isHttp: boolean): readonly string[] {
  const { chosen, from, passedOver, notes } = routes;
  const failed = routes.candidates.filter(({ isMatched }) => !isMatched);
  const none = isHttp
    ? `ROUTE none of ${failed.length} matches: 404`
    : "ROUTE none is for this connection: closed";
  const tried = failed.map(
    ({ route, rule, position, failed }) =>
      `  not ${route} rule ${rule}${place(position)}: ${failed}`,
  );
  const others = passedOver.map(
    ({ kind, route, rule, because, position }) =>
      `  passed over: ${kind} ${route}${rule === undefined ? "" : ` rule ${rule}`}${place(position)}: ${because}`,
  );
  return [
    chosen ? chosenLine(chosen, from, isHttp) : none,
    ...(chosen?.effects ?? []).map((effect) => `  ${effect}`),
    ...cutShort(tried, "that do not match"),
    ...cutShort(others, "that are passed over"),
    ...notes.map((note) => `  ${note}`),
  ];
}

function cutShort(lines: readonly string[], which: string): readonly string[] {
  if (lines.length <= SHOWN_MAX) return lines;
  return [...lines.slice(0, SHOWN_MAX), `  and ${lines.length - SHOWN_MAX} more ${which}`];
}

const WHOSE = { consumer: "consumer ", service: "", gateway: "waypoint's ", default: "" };

function chosenLine(chosen: ChosenRouteTrace, from: RouteTrace["from"], isHttp: boolean): string {
  const { kind, route, rule, service, port, weight, totalWeight, position } = chosen;
  if (route === undefined) {
    const target = service === undefined ? "the workload addressed" : backendName(service, port);
    return `ROUTE default → ${target}`;
  }
  const name = `ROUTE by ${WHOSE[from]}${kind} ${route} rule ${rule}${place(position)}`;
  const { status, problem } = chosen;
  if (status !== undefined && problem === undefined) return `${name} → ${status}`;
  const share = weight > 0 ? ` (weight ${weight} of ${totalWeight})` : "";
  if (service !== undefined) return `${name} → ${backendName(service, port, route)}${share}`;
  return `${name} → ${isHttp ? (status ?? 500) : "closed"}: ${problem ?? "invalid backend"}${share}`;
}

/** ` (policy.yaml:12:7)`; empty without a file. */
export function place(position: SourcePosition | undefined): string {
  const text = formatPosition(position);
  return text === undefined ? "" : ` (${text})`;
}
