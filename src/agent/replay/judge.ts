/**
 * What would become of a recorded request under another configuration: the proxies' own `decide()`
 * over the recorded facts. What the facts cannot answer is said to be unknown, never guessed:
 * tokens that would be judged anew (they are not recorded), authorizers that were never asked,
 * secrets that a rule wants to see.
 */
import type { Service } from "../../model/service.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { WaypointBinding } from "../../model/waypoint.ts";
import { normalizePath } from "../../net/path.ts";
import { refusedByProvider } from "../../policy/custom-policies.ts";
import { decide } from "../../policy/decide.ts";
import { type HttpDecider, httpDecider, l4Decider } from "../../policy/decider.ts";
import { type ConnectionFacts, type Hop, type HttpFacts, isHttp } from "../../policy/facts.ts";
import { nextHop } from "../../policy/next-hop.ts";
import { configurationDigest } from "./configuration-digest.ts";
import { type Outcome, outcomeOf, refusedOutcome } from "./outcome.ts";
import { type FactSettings, type RecordedRequest, refusalOutcome } from "./recorded-request.ts";
import { ReplayedRequest, replayedFacts } from "./replayed-facts.ts";

export type Judged =
  | { readonly outcome: Outcome; readonly cannotSay?: undefined }
  | { readonly outcome?: undefined; readonly cannotSay: string };

type WaypointHop = Extract<Hop, { proxy: "waypoint" }>;

/** `isShort: false` decides anew also where nothing has changed; the answer is the same. */
export function judge(snapshot: Snapshot, request: RecordedRequest, isShort = true): Judged {
  const { hop, outcome, configuration, refusal } = request;
  if (hop.proxy === "ztunnel" && refusal !== undefined) return judgeWay(snapshot, request, hop);
  const isKnown = configuration !== undefined && configuration.whole !== "";
  if (isShort && outcome !== undefined && isKnown) {
    if (configurationDigest(snapshot, hop).whole === configuration.whole) return { outcome };
  }
  if (hop.proxy === "waypoint") return judgeAtWaypoint(snapshot, request, hop);
  if (snapshot.workloads.get(hop.workload) === undefined) {
    return { outcome: refusedOutcome("the workload is gone") };
  }
  const decision = decide(snapshot, hop, replayedFacts(request.facts), 0);
  return { outcome: outcomeOf(decision, hop, false) };
}

/** A client's ztunnel had no way to go: is there one now? */
function judgeWay(
  snapshot: Snapshot,
  { facts, refusal = "" }: RecordedRequest,
  hop: Extract<Hop, { proxy: "ztunnel" }>,
): Judged {
  const { destinationAddress: address, destinationPort: port } = facts;
  const source = snapshot.workloads.get(hop.workload);
  const next = nextHop(snapshot, { source, address, port, draw: 0 });
  if (next.kind === "refused") return { outcome: refusedOutcome(next.because) };
  // Nobody has that address: it is another mesh's, or its owner is gone.
  if (next.kind === "passthrough") return { outcome: refusedOutcome(refusal) };
  const waypoint = next.kind === "tunnel" ? next.waypoint : undefined;
  const base = { isAllowed: true, because: "noAllowPolicies" } as const;
  return { outcome: waypoint === undefined ? base : { ...base, waypoint } };
}

function judgeAtWaypoint(snapshot: Snapshot, request: RecordedRequest, hop: WaypointHop): Judged {
  const facts = replayedFacts(request.facts);
  const uncertain = facts instanceof ReplayedRequest && readAgain(facts, snapshot, request);
  if (uncertain) return { cannotSay: uncertain };
  let now: Hop = hop;
  if ("service" in hop) {
    const service = snapshot.services.get(hop.service);
    if (service === undefined) {
      return { outcome: refusedOutcome("the service is gone") };
    }
    if (!service.ports.some(({ port }) => port === hop.port)) {
      return { outcome: refusedOutcome(`the service has no port ${hop.port}`) };
    }
    const { waypoint: binding } = service;
    if (binding === undefined) return judgeWithoutWaypoint(snapshot, service, hop.port, facts);
    if (binding.state === "unusable") return { outcome: unusable(binding) };
    now = { ...hop, waypoint: binding.waypoint };
  } else {
    const binding = snapshot.workloads.get(hop.workload)?.waypoint;
    if (binding?.state === "unusable") return { outcome: unusable(binding) };
    if (binding?.waypoint !== hop.waypoint) {
      return { cannotSay: "the workload is no longer behind that waypoint" };
    }
  }
  return decideAtWaypoint(snapshot, request, now, facts);
}

function unusable({ waypoint, reason }: WaypointBinding & { state: "unusable" }): Outcome {
  return refusedOutcome(`waypoint ${waypoint} cannot be used: ${reason}`);
}

/** Brings facts to how the settings would have them read; or why that cannot be. */
function readAgain(
  facts: ReplayedRequest,
  { settings }: Snapshot,
  { settings: then }: RecordedRequest,
): string | undefined {
  if (then === undefined) return undefined;
  facts.isRemoteUncertain = settings.numTrustedProxies !== then.numTrustedProxies;
  const levels: readonly FactSettings["pathNormalization"][] = [
    "NONE",
    "BASE",
    "MERGE_SLASHES",
    "DECODE_AND_MERGE_SLASHES",
  ];
  const { pathNormalization } = settings;
  const difference = levels.indexOf(pathNormalization) - levels.indexOf(then.pathNormalization);
  if (difference < 0) return "paths would be normalised less, and are recorded normalised";
  if (difference > 0) facts.path = normalizePath(facts.path, pathNormalization) ?? facts.path;
  return undefined;
}

function decideAtWaypoint(
  snapshot: Snapshot,
  request: RecordedRequest,
  hop: Hop,
  facts: ConnectionFacts | ReplayedRequest,
): Judged {
  const { draw, refusal } = request;
  const decider = httpDecider(
    snapshot,
    (hop as WaypointHop).waypoint,
    hop,
    (hop as WaypointHop).port,
  );
  const asked = unanswered(decider, facts);
  if (asked !== undefined) return { cannotSay: asked };
  if (facts instanceof ReplayedRequest && facts.missing === undefined) {
    const questions = decider.questions(facts);
    const refused = refusedByProvider(questions, facts.providerAnswers);
    if (refused === undefined) {
      const isSame = configurationDigest(snapshot, hop).tokens === request.configuration?.tokens;
      if (isSame && refusal !== undefined) return { outcome: refusalOutcome(hop, refusal) };
      const token = isSame ? undefined : judgeTokens(decider, facts);
      if (token !== undefined) return token;
    }
  }
  const decision = decide(snapshot, hop, facts, draw ?? 0);
  if (facts instanceof ReplayedRequest && facts.missing !== undefined) {
    return { cannotSay: facts.missing };
  }
  return { outcome: outcomeOf(decision, hop, draw !== undefined) };
}

/** An authorizer that would be asked, and was not; one before it that refuses has the last word. */
function unanswered(decider: HttpDecider, facts: ConnectionFacts | HttpFacts): string | undefined {
  const questions = isHttp(facts) ? decider.questions(facts) : decider.tcpQuestions(facts);
  if (refusedByProvider(questions, facts.providerAnswers) !== undefined) return undefined;
  const open = questions.find(
    ({ provider }) => facts.providerAnswers?.[provider.name] === undefined,
  );
  return open && `provider ${open.provider.name} would be asked, and its answer is not recorded`;
}

/** Tokens under other rules; `undefined`: there are none, and policies decide. */
function judgeTokens(decider: HttpDecider, facts: ReplayedRequest): Judged | undefined {
  const result = decider.authenticator?.authenticate(facts, Date.now());
  if (facts.missing !== undefined) {
    return { cannotSay: "its token would be judged anew, and tokens are not recorded" };
  }
  if (result?.isPassed === false) return { outcome: refusedOutcome(result.reason, result.status) };
  facts.jwt = result?.jwt;
  return undefined;
}

/** Straight to one of the workloads, whose ztunnel alone decides. */
function judgeWithoutWaypoint(
  snapshot: Snapshot,
  service: Service,
  port: number,
  facts: ConnectionFacts,
): Judged {
  const { sourceIdentity, sourceAddress } = facts;
  const outcomes = (snapshot.endpoints.get(service.key) ?? []).flatMap((endpoint) => {
    const workload = snapshot.workloads.get(endpoint.workloadUid);
    const destinationPort = endpoint.ports.get(port);
    if (workload === undefined || destinationPort === undefined || !endpoint.isHealthy) return [];
    const destinationAddress = endpoint.address;
    const verdict = l4Decider(snapshot, workload).authorize({
      ...{ sourceIdentity, sourceAddress, destinationAddress, destinationPort },
    });
    const decision = { verdict, route: undefined, backend: undefined, status: undefined };
    const outcome = outcomeOf(decision, { proxy: "ztunnel", workload: workload.uid }, false);
    return [{ ...outcome, ...(outcome.isAllowed && { backends: [`${service.key}:${port}`] }) }];
  });
  const [first] = outcomes;
  if (first === undefined)
    return { outcome: refusedOutcome("the service has no healthy endpoint") };
  if (outcomes.every(({ isAllowed }) => isAllowed === first.isAllowed)) return { outcome: first };
  return { cannotSay: "it would go past the waypoint, and its workloads do not agree" };
}
