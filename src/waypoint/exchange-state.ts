/**
 * What is known about a request and its answer: facts for policies and routes, what the stages
 * found, and what the record is made from. `Exchange` adds what is done with it.
 */
import type { DeadlineEntry } from "../kit/deadlines.ts";
import type { Backend } from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { NO_HEAD } from "../net/http1/head.ts";
import type { RouteChoice, Verdict } from "../policy/decider.ts";
import type { HttpFacts, JwtFacts, ProviderAnswers } from "../policy/facts.ts";
import type { PassedAuthentication } from "../policy/jwt/authenticator.ts";
import { type PeerLabels, peerLabels } from "../telemetry/istio-metrics.ts";
import type { UpstreamEndpoint } from "./cluster.ts";
import type { WaypointContext } from "./context.ts";
import type { DownstreamSession } from "./downstream-session.ts";
import { type AllowedChanges, changedValue, NO_CHANGES } from "./external-auth/answer.ts";
import type { HeaderPairs } from "./filters/cors.ts";
import type { RouteFilters } from "./filters/route-filters.ts";
import { forwardedAddress } from "./forwarded-for.ts";
import type { MessageHead } from "./message-head.ts";
import type { StickyRequest } from "./session-persistence.ts";
import { sourceOf } from "./source-labels.ts";
import type { Target } from "./target.ts";
import type { WebSocketKey } from "./web-socket.ts";

const NO_PAIRS: HeaderPairs = [];

export abstract class ExchangeState implements HttpFacts, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly session: DownstreamSession;
  readonly context: WaypointContext;
  readonly target: Target;

  // Facts (policy/facts.ts)
  readonly sourceIdentity: string | undefined;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  method = "";
  path = "";
  query = "";
  authority = "";
  /** The request's head; only valid while the stages run. */
  head: MessageHead = NO_HEAD;
  snapshot: Snapshot;
  /** The client's workload, looked up anew with each snapshot … */
  source: Workload | undefined;
  /** … and who it is in metrics. */
  sourceLabels: PeerLabels;
  /** The random draw of the weighted choice: a fact, so that the decision can be replayed. */
  draw = 0;

  // What the stages found
  verdict: Verdict | undefined = undefined;
  choice: RouteChoice | undefined = undefined;
  backend: Backend | undefined = undefined;
  /** Those of the rule; null when it has none. */
  ruleFilters: RouteFilters | null = null;
  /** Those of the backend alone. */
  backendFilters: RouteFilters | null = null;
  /** The next of the stages (pipeline.ts). */
  stage = 0;
  /** What authorizers have changed. */
  authChanges: readonly AllowedChanges[] = NO_CHANGES;
  /** An authorizer wants the route to be chosen by what it has changed. */
  isRoutedByChanges = false;
  /** Those of the changes that what is judged now sees. */
  seenChanges: readonly AllowedChanges[] = NO_CHANGES;
  /** Of a verified token. */
  jwt: JwtFacts | undefined = undefined;
  /** Why it was refused before any policy was asked. */
  refusal: string | undefined = undefined;
  /** What becomes of the tokens; undefined: nobody has asked for any. */
  authentication: PassedAuthentication | undefined = undefined;
  /** What the providers of CUSTOM policies have said, by name. */
  providerAnswers: ProviderAnswers | undefined = undefined;
  /** What the answer says to the page that asked. */
  corsHeaders: HeaderPairs = NO_PAIRS;
  cluster: UpstreamEndpoint["cluster"] | undefined = undefined;
  endpoint: UpstreamEndpoint | undefined = undefined;
  /** The rule has `sessionPersistence`. */
  sticky: StickyRequest | undefined = undefined;
  requestId = "";
  decisionId = "";
  /** The answer says what the id is. */
  isDecisionTold = false;
  decisionHeaders: readonly string[] = [];

  isGrpc = false;
  /** The client was told to go on by us ("100 Continue"), and not by the backend. */
  isBodyAskedFor = false;
  /** A WebSocket is asked for. */
  isUpgrade = false;
  webSocketKey: WebSocketKey | undefined = undefined;
  attempt = 0;
  tried: UpstreamEndpoint[] = [];
  isActive = false;
  isResponseStarted = false;

  // For the record
  startMs = 0;
  startWallMs = 0;
  upstreamServiceTimeMs = -1;
  status = 0;
  flags = "-";
  details = "via_upstream";
  requestHeaderBytes = 0;
  responseHeaderBytes = 0;
  requestBodyBytes = 0;
  responseBodyBytes = 0;
  userAgent = "";
  forwardedFor = "";
  transportFailure = "";
  /** `grpc-status`, of a gRPC request. */
  grpcStatus = "";

  constructor(session: DownstreamSession, context: WaypointContext, target: Target) {
    this.session = session;
    this.context = context;
    this.target = target;
    this.snapshot = context.snapshots.current;
    this.source = sourceOf(this.snapshot, session.connection);
    this.sourceLabels = peerLabels(this.source, session.connection.peer);
    this.sourceIdentity = session.connection.peer;
    this.sourceAddress = session.connection.remoteAddress;
    this.destinationAddress = target.address;
    this.destinationPort = target.port;
  }

  header(name: string): string | undefined {
    const value = this.head.getByName(name);
    return this.seenChanges.length === 0 ? value : changedValue(value, name, this.seenChanges);
  }

  /** Asked for by `remoteIpBlocks` alone. */
  get remoteAddress(): string | undefined {
    const { numTrustedProxies } = this.snapshot.settings;
    return forwardedAddress(this.header("x-forwarded-for"), numTrustedProxies);
  }

  abstract onDeadline(): void;

  /** For the next request. */
  protected resetState(): void {
    this.verdict = undefined;
    this.choice = undefined;
    this.backend = undefined;
    this.ruleFilters = null;
    this.backendFilters = null;
    this.corsHeaders = NO_PAIRS;
    this.authChanges = NO_CHANGES;
    this.seenChanges = NO_CHANGES;
    this.isRoutedByChanges = false;
    this.providerAnswers = undefined;
    this.jwt = undefined;
    this.refusal = undefined;
    this.authentication = undefined;
    this.isBodyAskedFor = false;
    this.stage = 0;
    this.cluster = undefined;
    this.endpoint = undefined;
    this.sticky = undefined;
    this.webSocketKey = undefined;
    this.decisionId = "";
    this.isDecisionTold = false;
    this.requestId = "";
    this.attempt = 0;
    if (this.tried.length > 0) this.tried = [];
    this.isActive = true;
    this.isResponseStarted = false;
    this.upstreamServiceTimeMs = -1;
    this.status = 0;
    this.flags = "-";
    this.details = "via_upstream";
    this.responseHeaderBytes = 0;
    this.requestBodyBytes = 0;
    this.responseBodyBytes = 0;
    this.transportFailure = "";
    this.grpcStatus = "";
  }
}
