/**
 * The pure function of D1: a snapshot and facts in, a decision out. It runs what the proxies run
 * (`decider.ts`); `explain.ts` answers the same with its trace.
 */
import type { Backend } from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { refusedByProvider } from "./custom-policies.ts";
import { httpDecider, l4Decider } from "./decider.ts";
import { type ConnectionFacts, type Hop, type HttpFacts, isHttp } from "./facts.ts";
import { ownAnswer } from "./own-answers.ts";
import {
  type ConnectionChoice,
  type RouteChoice,
  UNKNOWN_TARGET,
  type Verdict,
} from "./verdict.ts";

export interface Decision {
  readonly verdict: Verdict;
  /** Only of what a waypoint allows; undefined also when routes exist and none matches. */
  readonly route: RouteChoice | ConnectionChoice | undefined;
  /** Where the draw falls; undefined also for the default route of a workload. */
  readonly backend: Backend | undefined;
  /** What the proxy answers itself; undefined: forwarded, or not HTTP. */
  readonly status: number | undefined;
}

/** Judges at one hop. `draw`, from [0, 1), decides weighted choices. */
export function decide(
  snapshot: Snapshot,
  hop: Hop,
  facts: ConnectionFacts | HttpFacts,
  draw: number,
): Decision {
  if (hop.proxy === "ztunnel") {
    const workload = snapshot.workloads.get(hop.workload);
    const verdict = workload ? l4Decider(snapshot, workload).authorize(facts) : UNKNOWN_TARGET;
    return { verdict, route: undefined, backend: undefined, status: undefined };
  }
  const decider = httpDecider(snapshot, hop.waypoint, hop, hop.port);
  if (!isHttp(facts)) {
    const refused = refusedByProvider(decider.tcpQuestions(facts), facts.providerAnswers);
    const verdict = refused ?? decider.authorizeTcp(facts);
    const isAsked = verdict.isAllowed;
    const route = isAsked ? decider.chooseConnection(facts, facts.serverName) : undefined;
    return { verdict, route, backend: route?.chooseBackend(draw), status: undefined };
  }
  const refused = refusedByProvider(decider.questions(facts), facts.providerAnswers);
  const verdict = refused ?? decider.authorize(facts);
  if (!verdict.isAllowed) return { verdict, route: undefined, backend: undefined, status: 403 };
  const route = decider.chooseRoute(facts);
  if (!route) return { verdict, route, backend: undefined, status: 404 };
  const backend = route.chooseBackend(draw);
  return { verdict, route, backend, status: ownAnswer(route, backend, facts) };
}
