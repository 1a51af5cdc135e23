/**
 * A connection on a port that does not speak HTTP: judged once, then relayed.
 *
 * The tunnel is answered late, after the backend has been reached, so that a backend that refuses
 * is a refused connection to the client and not one that opens and dies (protocols.md §8).
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { Failure } from "../kit/failure.ts";
import type { ByteStream, StreamReset } from "../net/byte-stream.ts";
import { EarlyBytes } from "../net/early-bytes.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { Relay, type RelayListener } from "../net/relay.ts";
import type { ProviderQuestion } from "../policy/custom-policies.ts";
import type { ConnectionFacts } from "../policy/facts.ts";
import type { Verdict } from "../policy/verdict.ts";
import { destinationLabels, type TcpSeries } from "../telemetry/istio-metrics.ts";
import type { Cluster, UpstreamEndpoint } from "./cluster.ts";
import type { WaypointContext } from "./context.ts";
import type { Dial, DialListener } from "./dial.ts";
import { ConnectionCheck, type ConnectionCheckListener } from "./external-auth/connection-check.ts";
import { labelsOf, sourceOf } from "./source-labels.ts";
import { denialDetails } from "./stages/authorize.ts";
import { recordTcp } from "./stages/record.ts";
import type { Target } from "./target.ts";

/** How the tunnel's opening is answered: 200, or a status that refuses. */
export interface TunnelAnswer {
  accept(): void;
  refuse(status: number): void;
}

export class TcpSession
  implements DialListener, RelayListener, ConnectionCheckListener, ConnectionFacts, DeadlineEntry
{
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly sourceIdentity: string;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  readonly #downstream: ByteStream;
  readonly #connection: TunnelConnection;
  readonly #context: WaypointContext;
  readonly #target: Target;
  readonly #answer: TunnelAnswer;
  #serverName: string | undefined;
  #routeName = "";
  /** Where the route has sent it; undefined while that is not known. */
  #cluster: Cluster | undefined;
  #endpoint: UpstreamEndpoint | undefined;
  #tried: UpstreamEndpoint[] = [];
  #dial: Dial | null = null;
  #attempt = 0;
  #series: TcpSeries | undefined;
  #isOver = false;
  #early: EarlyBytes | undefined;
  /** Others are being asked whether it may be opened. */
  #check: ConnectionCheck | undefined;
  #relay: Relay | undefined;
  #seenBytes = 0;
  readonly #startMs = performance.now();
  readonly #startWallMs = Date.now();
  #flags = "-";
  #details = "";
  #transportFailure = "";

  constructor(
    downstream: ByteStream,
    connection: TunnelConnection,
    context: WaypointContext,
    target: Target,
    answer: TunnelAnswer,
  ) {
    this.#downstream = downstream;
    this.#connection = connection;
    this.#context = context;
    this.#target = target;
    this.#answer = answer;
    this.sourceIdentity = connection.peer;
    this.sourceAddress = connection.remoteAddress;
    this.destinationAddress = target.address;
    this.destinationPort = target.port;
  }

  /** `early`: bytes that were read to find out the protocol, or the server name. */
  start(early?: Buffer, serverName?: string): void {
    this.#serverName = serverName;
    // The first bytes may have been waited for long.
    this.#target.refresh(this.#context.snapshots.current);
    if (!this.#target.isServed) {
      this.#fail("NR", 404);
      return;
    }
    this.#early = new EarlyBytes(this.#downstream, () => this.#abandon());
    if (early !== undefined) this.#early.onData(early, 0, early.length);
    const questions = this.#target.decider.tcpQuestions(this);
    if (questions.length === 0) this.#authorize();
    else this.#ask(questions);
  }

  /** CUSTOM policies: the connection waits for what the mesh's providers say. */
  #ask(questions: readonly ProviderQuestion[]): void {
    const { current } = this.#context.snapshots;
    const source = sourceOf(current, this.#connection);
    const asked = {
      sourceIdentity: this.sourceIdentity,
      sourceAddress: this.sourceAddress,
      sourcePort: this.#connection.remotePort,
      destinationAddress: this.destinationAddress,
      destinationPort: this.destinationPort,
      service: this.#target.cluster.service?.hostname ?? "",
    };
    this.#check = new ConnectionCheck(this.#context, current, source, asked, this);
    this.#check.start(questions);
  }

  onChecked(refused: Verdict | undefined): void {
    this.#check = undefined;
    if (this.#isOver) return;
    if (refused === undefined) this.#authorize();
    else this.#deny(refused, "UAEX");
  }

  #authorize(): void {
    const { decider, cluster } = this.#target;
    const verdict = decider.authorizeTcp(this);
    const { tcpShadow: shadow } = decider;
    if (shadow !== undefined) {
      const counts = this.#context.shadows.of(shadow, "", cluster.service?.hostname ?? "");
      shadow.judge(this, verdict, counts);
    }
    if (!verdict.isAllowed) {
      this.#deny(verdict, "-");
      return;
    }
    this.#cluster = this.#route();
    if (this.#cluster !== undefined) this.#connect();
  }

  #deny(verdict: Verdict, flags: string): void {
    this.#details = denialDetails(verdict.policy, verdict.rule);
    this.#fail(flags, 403);
  }

  get serverName(): string | undefined {
    return this.#serverName;
  }

  /** By TLSRoute or TCPRoute. `undefined`: it has failed. */
  #route(): Cluster | undefined {
    const choice = this.#target.decider.chooseConnection(this, this.#serverName);
    this.#routeName = choice?.name ?? "";
    if (choice !== undefined && choice.rule === undefined) return this.#target.cluster;
    const backend = choice?.chooseBackend(Math.random());
    if (backend?.service !== undefined) {
      const { clusters, snapshots } = this.#context;
      return clusters.ofService(backend.service, backend.port, snapshots.current);
    }
    // No route, or none with weight; or a backend that does not exist (Envoy's NoClusterFound).
    this.#fail(backend === undefined ? "NR" : "NC");
    return undefined;
  }

  #connect(): void {
    const { current } = this.#context.snapshots;
    const source = sourceOf(current, this.#connection);
    const cluster = this.#cluster!;
    cluster.refresh(current);
    const endpoint = cluster.pick(this.#tried, source);
    if (endpoint === undefined) {
      this.#fail("UH");
      return;
    }
    this.#attempt++;
    this.#endpoint = endpoint;
    endpoint.active++;
    const client = `"${this.sourceAddress}:${this.#connection.remotePort}"`;
    const forwarded = `for=${client};host=${endpoint.cluster.service?.hostname ?? ""}`;
    this.#dial = this.#context.dialer.dial(endpoint, ["forwarded", forwarded], this);
  }

  onDialed(upstream: ByteStream): void {
    this.#dial = null;
    this.#answer.accept();
    this.#series = this.#count("");
    this.#series.opened();
    this.#relay = new Relay(this.#downstream, upstream, this);
    this.#early!.pourInto(this.#relay);
    if (!this.#isOver) this.#watch();
  }

  #watch(): void {
    this.#seenBytes = this.#relay!.bytes;
    const { hboneIdleTimeoutMs } = this.#context.snapshots.current.settings;
    deadlinesOf(hboneIdleTimeoutMs).arm(this, performance.now());
  }

  /** `hboneIdleTimeout`: has anything moved since? */
  onDeadline(): void {
    if (this.#relay!.bytes !== this.#seenBytes) {
      this.#watch();
      return;
    }
    this.#context.countTimeout("tcp");
    this.#flags = "SI";
    this.#downstream.reset("timeout");
  }

  onDialFailed(failure: Failure): void {
    this.#dial = null;
    this.#transportFailure = failure.message;
    const endpoint = this.#endpoint!;
    endpoint.active--;
    this.#endpoint = undefined;
    this.#tried.push(endpoint);
    // Envoy's max_connect_attempts is 1; another endpoint costs nothing and may be alive.
    if (this.#attempt < this.#cluster!.endpoints.length && this.#attempt < 3) this.#connect();
    else this.#fail(failure.code === "UPSTREAM_OVERFLOW" ? "UO" : "UF");
  }

  #fail(flags: string, status = 503): void {
    if (this.#isOver) return;
    this.#count(flags).failed();
    this.#over(flags);
    this.#answer.refuse(status);
  }

  /** The client went away before the backend was there. */
  #abandon(): void {
    this.#check?.cancel();
    this.#check = undefined;
    this.#dial?.abort();
    this.#dial = null;
    this.#over("DC");
  }

  onRelayEnd(sent: number, received: number, _reset: StreamReset | undefined): void {
    const series = this.#series!;
    series.sent(sent);
    series.received(received);
    series.closed();
    this.#over(this.#flags, sent, received);
  }

  #over(flags: string, sent = 0, received = 0): void {
    if (this.#isOver) return;
    this.#isOver = true;
    Deadlines.disarm(this);
    if (this.#endpoint !== undefined) this.#endpoint.active--;
    recordTcp(this.#context, this.#connection, this.#target, {
      startMs: this.#startWallMs,
      durationMs: performance.now() - this.#startMs,
      cluster: this.#cluster ?? this.#target.cluster,
      endpoint: this.#endpoint ?? this.#tried.at(-1),
      serverName: this.#serverName ?? "",
      routeName: this.#routeName,
      details: this.#details,
      transportFailure: this.#transportFailure,
      ...{ flags, sent, received },
    });
  }

  #count(flags: string): TcpSeries {
    const { current } = this.#context.snapshots;
    const source = labelsOf(current, this.#connection);
    const destination =
      this.#endpoint?.labels ??
      destinationLabels(undefined, (this.#cluster ?? this.#target.cluster).service, undefined);
    return this.#context.tcp.series("waypoint", source, destination, flags, "mutual_tls");
  }
}
