/**
 * The decision of `decide.ts` with its trace. It walks the model rather than what is compiled from
 * it, so that it can say which line of which file wanted what.
 */
import type { Snapshot } from "../model/snapshot.ts";
import { l4Verdict } from "./compile-l4.ts";
import { ruleVerdict } from "./compile-rules.ts";
import type { Decision } from "./decide.ts";
import { type ConnectionFacts, type Hop, type HttpFacts, isHttp } from "./facts.ts";
import { ownAnswer } from "./own-answers.ts";
import { eachOnce, l4PoliciesFor, policiesFor } from "./policy-sets.ts";
import type { PolicyTrace, Trace } from "./trace.ts";
import { traceConnection } from "./trace-connections.ts";
import { type CustomTrace, compareCustom, traceCustom } from "./trace-custom.ts";
import { traceL4Policy } from "./trace-l4.ts";
import { traceRoute } from "./trace-routes.ts";
import { tracePolicy } from "./trace-rules.ts";
import { NO_ALLOW_MATCHED, NO_ALLOW_POLICIES, UNKNOWN_TARGET, type Verdict } from "./verdict.ts";

export interface TracedDecision extends Decision {
  readonly hop: Hop;
  /** Of a request; else of a connection. */
  readonly isHttp: boolean;
  readonly trace: Trace;
}

/** Judges at one hop, and says why. The same answer as `decide()`. */
export function explain(
  snapshot: Snapshot,
  hop: Hop,
  facts: ConnectionFacts | HttpFacts,
  draw: number,
): TracedDecision {
  const judged = judge(snapshot, hop, facts);
  if (!judged) return unknownTarget(snapshot, hop, facts);
  const { verdict, policies, notes } = judged;
  const trace = { revision: snapshot.revision, policies, routes: undefined, notes };
  const none = { route: undefined, backend: undefined };
  const decision = { hop, isHttp: isHttp(facts), verdict, ...none };
  if (hop.proxy === "ztunnel") return { ...decision, status: undefined, trace };
  const service = "service" in hop ? hop.service : undefined;
  if (!isHttp(facts)) {
    if (!verdict.isAllowed) return { ...decision, status: undefined, trace };
    const routed = traceConnection(snapshot, hop.waypoint, service, hop.port, facts, draw);
    const { choice: route } = routed;
    const backend = route?.chooseBackend(draw);
    const withRoute = { ...trace, routes: routed.trace };
    return { ...decision, route, backend, status: undefined, trace: withRoute };
  }
  if (!verdict.isAllowed) return { ...decision, status: 403, trace };
  const routed = traceRoute(snapshot, hop.waypoint, service, hop.port, facts, draw);
  const withRoute = { ...trace, routes: routed.trace };
  const route = routed.choice;
  if (!route) return { ...decision, status: 404, trace: withRoute };
  const backend = route.chooseBackend(draw);
  const status = ownAnswer(route, backend, facts);
  return { ...decision, route, backend, status, trace: withRoute };
}

function unknownTarget(
  snapshot: Snapshot,
  hop: Hop,
  facts: ConnectionFacts | HttpFacts,
): TracedDecision {
  const name = "service" in hop ? `service ${hop.service}` : `workload ${hop.workload}`;
  return {
    hop,
    isHttp: isHttp(facts),
    verdict: UNKNOWN_TARGET,
    route: undefined,
    backend: undefined,
    status: hop.proxy === "waypoint" && isHttp(facts) ? 403 : undefined,
    trace: {
      revision: snapshot.revision,
      policies: [],
      routes: undefined,
      notes: [`${name} is not known here, so neither are its policies`],
    },
  };
}

interface Judged {
  readonly verdict: Verdict;
  readonly policies: readonly PolicyTrace[];
  readonly notes: readonly string[];
}

/** A policy's trace and what a match of one of its rules means. */
interface Considered {
  readonly trace: PolicyTrace;
  /** Of a CUSTOM policy: what its provider says; undefined of all others. */
  readonly custom: CustomTrace | undefined;
  verdictOf(rule: number): Verdict;
}

/** `undefined`: the target is not in the snapshot. */
function judge(
  snapshot: Snapshot,
  hop: Hop,
  facts: ConnectionFacts | HttpFacts,
): Judged | undefined {
  if (hop.proxy === "ztunnel") {
    const workload = snapshot.workloads.get(hop.workload);
    if (!workload) return undefined;
    const applying = eachOnce(l4PoliciesFor(snapshot, workload));
    return combine(
      applying.map(({ policy, attachedTo }) => ({
        trace: traceL4Policy(policy, attachedTo, facts),
        custom: undefined,
        verdictOf: (rule) => l4Verdict(policy, rule),
      })),
    );
  }
  const service = "service" in hop ? hop.service : undefined;
  const owner =
    "service" in hop ? snapshot.services.get(hop.service) : snapshot.workloads.get(hop.workload);
  if (!owner) return undefined;
  const applying = eachOnce(policiesFor(snapshot, hop.waypoint, service));
  return combine(
    applying.map(({ policy, attachedTo }) => ({
      trace: tracePolicy(policy, attachedTo, facts, snapshot.settings),
      custom:
        policy.action === "CUSTOM" ? traceCustom(policy, facts, snapshot.settings) : undefined,
      verdictOf: (index) => ruleVerdict(policy, policy.rules.find((rule) => rule.index === index)!),
    })),
  );
}

const ORDER = { CUSTOM: 0, AUDIT: 1, DENY: 2, ALLOW: 3 } as const;

/** CUSTOM and DENY first; then an ALLOW must match, if there is any. AUDIT decides nothing. */
function combine(unordered: readonly Considered[]): Judged {
  const considered = unordered.toSorted(
    (a, b) => ORDER[a.trace.action] - ORDER[b.trace.action] || compareCustom(a.custom, b.custom),
  );
  const enforced = considered.filter(({ trace }) => !trace.isDryRun && trace.action !== "AUDIT");
  const isDeciding = ({ trace, custom }: Considered) => trace.isMatched && custom?.isAsked !== true;
  const deciding = enforced.find(isDeciding);
  const hasAllow = enforced.some(({ trace }) => trace.action === "ALLOW");
  const policies = considered.map(({ trace }) =>
    trace === deciding?.trace ? { ...trace, isDeciding: true } : trace,
  );
  const notes = enforced.flatMap(({ trace, custom }) =>
    trace.isMatched && custom?.note !== undefined ? [custom.note] : [],
  );
  const verdict = deciding?.verdictOf(deciding.trace.matchedRule!);
  return { verdict: verdict ?? (hasAllow ? NO_ALLOW_MATCHED : NO_ALLOW_POLICIES), policies, notes };
}
