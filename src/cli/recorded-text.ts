/** Recorded requests and what came of them, in words for people. */
import type { Outcome } from "../agent/replay/outcome.ts";
import type { RecordedRequest } from "../agent/replay/recorded-request.ts";
import { parseIdentity } from "../model/identity.ts";

/** `GET /orders?id=1`, or `connection`. */
export function requestText({ facts }: RecordedRequest): string {
  const { method, path = "/", query } = facts;
  if (method === undefined) return "connection";
  return `${method} ${path}${query ? `?${query}` : ""}`;
}

/** `shop/client`: the service account that was proven; else the address. */
export function sourceText({ facts }: RecordedRequest): string {
  const { sourceIdentity, sourceAddress } = facts;
  const identity = sourceIdentity === undefined ? undefined : parseIdentity(sourceIdentity);
  return identity ? `${identity.namespace}/${identity.serviceAccount}` : sourceAddress;
}

/** `reviews.default:9080`, `pod default/reviews-v1-…:9080`. */
export function targetText({ hop, facts, refusal }: RecordedRequest): string {
  const { destinationAddress, destinationPort } = facts;
  if (hop.proxy === "waypoint" && "service" in hop) return `${shortHost(hop.service)}:${hop.port}`;
  if (refusal !== undefined) return `${destinationAddress}:${destinationPort}`;
  const [, , kind = "", namespace = "", name = ""] = hop.workload.split("/");
  const workload = kind === "Pod" ? `pod ${namespace}/${name}` : hop.workload;
  return `${workload}:${destinationPort}`;
}

/** `default/reviews.default.svc.cluster.local` → `reviews.default`. */
function shortHost(service: string): string {
  const host = service.slice(service.indexOf("/") + 1);
  const [name, namespace, svc] = host.split(".");
  return svc === "svc" ? `${name}.${namespace}` : host;
}

/** May it pass, who says so, and where does it go: one line. */
export function outcomeText(outcome: Outcome): string {
  const verdict = verdictText(outcome);
  const way = outcome.isAllowed ? wayText(outcome) : "";
  return way === "" ? verdict : `${verdict}; ${way}`;
}

/** May it pass, and who says so. */
export function verdictText(outcome: Outcome): string {
  if (!outcome.isAllowed) return deniedText(outcome);
  const { policy, rule, policyAt } = outcome;
  if (policy === undefined) return "allowed, no policy denies";
  return `allowed by ${policy}${ruleText(rule)}${place(policyAt)}`;
}

function deniedText({ because, status, reason, policy, rule, policyAt }: Outcome): string {
  const answer = status === undefined ? "refused" : `${status}`;
  if (because === "refused") return `${answer}: ${reason}`;
  if (because === "noAllowMatched") return `${answer}: no ALLOW policy matches`;
  if (policy === undefined) return `${answer}: its target is not known`;
  return `${answer} by ${policy}${ruleText(rule)}${place(policyAt)}`;
}

/** Where it goes; empty where nothing chose. */
export function wayText(outcome: Outcome): string {
  const { route, routeRule, routeAt, backends, status, waypoint } = outcome;
  const by = route === undefined ? "" : ` by route ${route}${ruleText(routeRule)}${place(routeAt)}`;
  if (status === 404) return "404: no route matches";
  if (status === 500) return `500: no such backend${by}`;
  if (status !== undefined) return `${status}${by}`;
  if (backends === undefined) return waypoint === undefined ? "" : `through waypoint ${waypoint}`;
  const names = backends.map((backend) => {
    const [, service = "", port = "", rest = ""] = /^(.*?):(\d+)(.*)$/.exec(backend) ?? [];
    return service === "" ? backend : `${shortHost(service)}:${port}${rest}`;
  });
  const past = waypoint === undefined ? ", past the waypoint" : "";
  return `to ${names.join(" or ")}${by}${past}`;
}

function ruleText(rule: number | undefined): string {
  return rule === undefined ? "" : ` rule ${rule}`;
}

function place(at: string | undefined): string {
  return at === undefined ? "" : ` (${at})`;
}
