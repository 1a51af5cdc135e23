/**
 * Connections that leave a workload: who, where to, through what, and then bytes.
 */
import { Failure } from "../kit/failure.ts";
import type { Workload } from "../model/workload.ts";
import { workloadIdentity } from "../model/workload.ts";
import type { ByteStream, StreamReset } from "../net/byte-stream.ts";
import { formatAuthority } from "../net/hbone/authority.ts";
import { baggageOf, forwardedFor, newTraceparent } from "../net/hbone/headers.ts";
import { Relay, type RelayListener } from "../net/relay.ts";
import { connectTcp, TcpStream } from "../net/tcp-stream.ts";
import { type NextHop, nextHop } from "../policy/next-hop.ts";
import type { Carried } from "./carried-connections.ts";
import { type ConnectionParties, ConnectionRecord, errorOf } from "./connection-record.ts";
import type { ZtunnelContext } from "./context.ts";
import { acceptPlain } from "./inbound.ts";
import type { OutboundClient } from "./outbound-client.ts";
import type { CutReason } from "./ztunnel-metrics.ts";

const CONNECT_TIMEOUT_MS = 10_000;
/** Instances of a waypoint or a service that are tried before the client is told. */
const DIALS_MAX = 3;

/** The one who connects, and what to. */
export interface OutboundRequest {
  readonly client: OutboundClient;
  /** Undefined: outside the mesh. */
  readonly source: Workload | undefined;
  readonly remote: { readonly address: string; readonly port: number };
  readonly address: string;
  readonly port: number;
  /** Our own listener has that address: passing through would come back to us, for ever. */
  readonly isOurListener?: boolean;
}

type Tunnel = Extract<NextHop, { kind: "tunnel" }>;

export class Outbound implements RelayListener, Carried {
  readonly #context: ZtunnelContext;
  readonly #request: OutboundRequest;
  readonly #startMs = performance.now();
  #hop: NextHop;
  #record: ConnectionRecord;
  /** Uids of instances that could not be reached. */
  readonly #avoid = new Set<string>();
  #abort: (() => void) | undefined;
  #upstream: ByteStream | undefined;
  #downstream: ByteStream | undefined;
  #cutBecause: string | undefined;
  /** Joined, refused or given up: nothing that was under way counts any more. */
  #isSettled = false;

  constructor(context: ZtunnelContext, request: OutboundRequest) {
    this.#context = context;
    this.#request = request;
    this.#hop = this.#choose();
    this.#record = this.#recordOf(this.#hop);
  }

  #choose(): NextHop {
    const { source, address, port } = this.#request;
    const query = { source, address, port, draw: Math.random(), avoid: this.#avoid };
    return nextHop(this.#context.snapshots.current, query);
  }

  #recordOf(hop: NextHop): ConnectionRecord {
    const { source, remote } = this.#request;
    const { address, port } = hop.kind === "refused" ? this.#request : hop;
    const isTunnel = hop.kind === "tunnel";
    const parties: ConnectionParties = {
      direction: "outbound",
      source,
      sourceAddress: formatAuthority(remote.address, remote.port),
      sourceIdentity: source && workloadIdentity(source),
      destination: "workload" in hop ? hop.workload : undefined,
      destinationAddress: formatAuthority(address, port),
      service: "service" in hop ? hop.service : undefined,
      hboneAddress: isTunnel ? formatAuthority(hop.authorityAddress, hop.authorityPort) : undefined,
    };
    return new ConnectionRecord(this.#context, parties, this.#startMs);
  }

  /** A plain client of a workload in the mesh: that workload's ztunnel judges it. */
  get isForInbound(): boolean {
    return isForInbound(this.#hop);
  }

  start(): void {
    const hop = this.#hop;
    if (hop.kind === "refused") {
      this.#refuse(hop.because);
      return;
    }
    if (hop.kind === "passthrough" && this.#request.isOurListener) {
      this.#refuse(`${hop.address} is no address of the mesh any more`);
      return;
    }
    if (isForInbound(hop)) {
      const { client, remote } = this.#request;
      acceptPlain(this.#context, hop.workload, hop.address, hop.port, client, remote);
      return;
    }
    if (!this.#context.carried.add(this)) {
      this.#context.limitsReached.reached("connections");
      this.#turnAway("too many connections", new Failure("TOO_MANY_CONNECTIONS"));
      return;
    }
    this.#request.client.hold(() => this.#giveUp(new Failure("DOWNSTREAM_RESET")));
    this.#dial(hop);
  }

  #dial(hop: Exclude<NextHop, { kind: "refused" }>): void {
    if (hop.kind === "tunnel") this.#openTunnel(hop);
    else this.#connectPlainly(hop);
  }

  /**
   * The instance could not be reached. Nothing of the client's has been sent, so another one of
   * the same waypoint or service is as good.
   */
  #onUnreachable(flags: string, failure: Failure): void {
    if (this.#isSettled) return;
    const hop = this.#hop;
    const isChoice =
      (hop.kind === "tunnel" && (hop.waypoint !== undefined || hop.service !== undefined)) ||
      (hop.kind === "direct" && hop.service !== undefined);
    if (isChoice && this.#avoid.size + 1 < DIALS_MAX) {
      this.#avoid.add(hop.workload.uid);
      const next = this.#choose();
      if ((next.kind === "tunnel" || next.kind === "direct") && !isForInbound(next)) {
        this.#context.metrics.dialsMoved.add(1);
        this.#context.log.debug({ from: hop.address, to: next.address, reason: failure.message });
        this.#hop = next;
        this.#record = this.#recordOf(next);
        this.#dial(next);
        return;
      }
    }
    this.#fail(flags, failure);
  }

  #openTunnel(hop: Tunnel): void {
    const source = this.#request.source!;
    const spiffeId = workloadIdentity(source);
    if (this.#context.certificates.current(spiffeId) === undefined) {
      this.#context.certificates.get(spiffeId).then(
        () => this.#dialTunnel(hop, source),
        (caught: unknown) =>
          this.#fail("IDENTITY_ERROR", Failure.from(caught, "CERTIFICATE_UNAVAILABLE")),
      );
    } else this.#dialTunnel(hop, source);
  }

  #dialTunnel(hop: Tunnel, source: Workload): void {
    if (this.#isSettled) return;
    const { remote } = this.#request;
    const spiffeId = workloadIdentity(source);
    const { host, port } = this.#context.tunnelAddress(hop.address, hop.port);
    const target = {
      host,
      port,
      expected: hop.expected,
      identity: () => this.#context.certificates.current(spiffeId),
      sourceAddress: this.#context.dialFrom(remote.address),
      poolKey: spiffeId,
    };
    const client = formatAuthority(remote.address, remote.port);
    const headers = [
      "baggage",
      baggageOf(source),
      "forwarded",
      forwardedFor(client, hop.service?.hostname),
      "traceparent",
      newTraceparent(),
    ];
    const authority = formatAuthority(hop.authorityAddress, hop.authorityPort);
    const opening = this.#context.pool.open(
      target,
      { authority, headers },
      {
        onOpen: (stream) => this.#join(stream),
        onRefused: (failure, status) => {
          const flags = flagsOf(failure, status);
          if (status === 0 && MOVES.has(failure.code)) this.#onUnreachable(flags, failure);
          else this.#fail(flags, failure);
        },
      },
    );
    this.#abort = () => opening.abort();
  }

  #connectPlainly(hop: { address: string; port: number; workload?: Workload }): void {
    const sourceAddress = this.#request.remote.address;
    const app = hop.workload
      ? this.#context.appAddress(hop.workload, hop.port, sourceAddress)
      : { host: hop.address, port: hop.port, localAddress: undefined };
    const options = { host: app.host, port: app.port, timeoutMs: CONNECT_TIMEOUT_MS };
    const { localAddress } = app;
    const dialling = connectTcp(
      localAddress === undefined ? options : { ...options, localAddress },
      (result) => {
        if (result instanceof Failure) this.#onUnreachable("CONNECT", result);
        else this.#join(new TcpStream(result));
      },
    );
    this.#abort = () => dialling.abort();
  }

  #join(upstream: ByteStream): void {
    this.#isSettled = true;
    this.#upstream = upstream;
    this.#record.opened();
    const { client } = this.#request;
    const downstream = client.take();
    this.#downstream = downstream;
    client.pourInto(new Relay(downstream, upstream, this));
  }

  /** The mesh has no way there. It is written down, so that it can be asked about. */
  #refuse(because: string): void {
    const { source, remote, address, port } = this.#request;
    const { current } = this.#context.snapshots;
    this.#context.decisions.record({
      id: formatAuthority(remote.address, remote.port),
      proxy: "ztunnel",
      target: formatAuthority(address, port),
      atMs: Date.now(),
      facts: {
        sourceIdentity: source && workloadIdentity(source),
        sourceAddress: remote.address,
        destinationAddress: address,
        destinationPort: port,
      },
      snapshot: current,
      payload: {
        hop: { proxy: "ztunnel", workload: source?.uid ?? "" },
        draw: 0,
        status: 0,
        flags: "CONNECT",
        servedBy: "",
        refusal: because,
      },
    });
    this.#turnAway("no way", new Failure("UPSTREAM_REFUSED", because));
  }

  /** Before anything was done for it. */
  #turnAway(kind: string, failure: Failure): void {
    this.#isSettled = true;
    this.#record.turnedAway(kind, failure.message);
    this.#request.client.refuse(failure);
  }

  /** Before it was joined. Once: what else was under way (a certificate) may end later. */
  #fail(flags: string, failure: Failure): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#context.carried.remove(this);
    this.#record.failed(flags, failure.message);
    this.#request.client.refuse(failure);
  }

  #giveUp(failure: Failure): void {
    if (this.#isSettled) return;
    this.#abort?.();
    this.#fail("", failure);
  }

  cut(because: string, cause: CutReason): void {
    if (this.#upstream === undefined) {
      this.#giveUp(new Failure("UPSTREAM_CONNECT_FAILED", because));
      return;
    }
    this.#cutBecause = because;
    this.#context.metrics.connectionCut(cause);
    this.#upstream.reset("cancel");
    this.#downstream?.reset("cancel");
  }

  onRelayEnd(sent: number, received: number, reset: StreamReset | undefined): void {
    this.#context.carried.remove(this);
    this.#record.closed(sent, received, this.#cutBecause ?? errorOf(reset));
  }
}

/**
 * Failures of the way to one instance, which another instance may not have. A refusal is one when
 * it came without a status: the peer is on its way out.
 */
const MOVES: ReadonlySet<string> = new Set([
  "UPSTREAM_REFUSED",
  "UPSTREAM_CONNECT_FAILED",
  "UPSTREAM_CONNECT_TIMEOUT",
  "UPSTREAM_TLS_FAILED",
]);

type Direct = Extract<NextHop, { kind: "direct" }>;

function isForInbound(hop: NextHop): hop is Direct {
  return hop.kind === "direct" && hop.workload.tunnelProtocol === "HBONE";
}

/** ztunnel's response flags. */
function flagsOf(failure: Failure, status: number): string {
  if (status === 401 || status === 403) return "DENY";
  // It had expired when the connection was opened.
  if (failure.code === "CERTIFICATE_UNAVAILABLE") return "IDENTITY_ERROR";
  return failure.code === "UPSTREAM_TLS_FAILED" ? "TLS_FAILURE" : "CONNECT";
}
