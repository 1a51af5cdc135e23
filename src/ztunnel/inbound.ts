/**
 * Connections that arrive for a workload: through a tunnel (with a proven identity), or in plain
 * text (without one). Both are judged by the same L4 policies, then joined to the application.
 *
 *     tunnel:  authority is the workload's?  400   may they?  401   application reached?  503   200
 *     plain:                                      may they?  RST   application reached?  RST
 */
import net from "node:net";
import { Failure } from "../kit/failure.ts";
import type { Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import type { ByteStream, StreamReset } from "../net/byte-stream.ts";
import { EarlyBytes } from "../net/early-bytes.ts";
import { formatAuthority, parseAuthority } from "../net/hbone/authority.ts";
import { baggageOf } from "../net/hbone/headers.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { encodeStatelessBlock, type HeaderList, header } from "../net/http2/headers.ts";
import type { Http2Stream } from "../net/http2/stream.ts";
import { Relay, type RelayListener } from "../net/relay.ts";
import { connectTcp, TcpStream } from "../net/tcp-stream.ts";
import { type L4Decider, l4Decider } from "../policy/decider.ts";
import type { ConnectionFacts } from "../policy/facts.ts";
import { HBONE_PORT, MESH_PORTS } from "../policy/next-hop.ts";
import type { Carried } from "./carried-connections.ts";
import { ConnectionRecord, errorOf, logTurnedAway } from "./connection-record.ts";
import type { ZtunnelContext } from "./context.ts";
import { denial, type OpenConnection } from "./open-connections.ts";
import type { OutboundClient } from "./outbound-client.ts";
import type { CutReason } from "./ztunnel-metrics.ts";

/** Answers with the destination's baggage (protocols.md §3.2), made once a workload. */
const answers = new WeakMap<Workload, Buffer>();

function answerOf(workload: Workload): Buffer {
  let answer = answers.get(workload);
  if (answer === undefined) {
    answer = encodeStatelessBlock([":status", "200", "baggage", baggageOf(workload)]);
    answers.set(workload, answer);
  }
  return answer;
}

const CONNECT_TIMEOUT_MS = 10_000;
const GONE = "the workload is gone";

/** Who comes through a tunnel; those who come in plain text are OutboundClients. */
class TunnelClient {
  readonly #context: ZtunnelContext;
  readonly #stream: Http2Stream;
  readonly #workload: Workload | undefined;
  #early: EarlyBytes | undefined;

  constructor(context: ZtunnelContext, stream: Http2Stream, workload: Workload | undefined) {
    this.#context = context;
    this.#stream = stream;
    this.#workload = workload;
  }

  hold(onGone: () => void): void {
    this.#early = new EarlyBytes(this.#stream, onGone);
  }

  take(): ByteStream {
    this.#stream.respond(answerOf(this.#workload!), false);
    return this.#stream;
  }

  pourInto(relay: Relay): void {
    this.#early?.pourInto(relay);
  }

  refuse(_failure: Failure, status: number): void {
    this.#context.metrics.connectRefused(status);
    this.#stream.respond([":status", String(status)], true);
    this.#stream.reset("cancel");
  }
}

type Client = TunnelClient | OutboundClient;

/** What is wrong with an authority, and how that is answered (protocols.md §3.2). */
interface BadTarget {
  readonly status: 400 | 503;
  readonly because: string;
}

/** A CONNECT that a workload's ztunnel received. */
export function acceptTunnelled(
  context: ZtunnelContext,
  uid: string,
  stream: Http2Stream,
  request: { authority: string; headers: HeaderList },
  connection: TunnelConnection,
): void {
  const snapshot = context.snapshots.current;
  const workload = snapshot.workloads.get(uid);
  const client = new TunnelClient(context, stream, workload);
  const { authority } = request;
  const refuse = ({ status, because }: BadTarget): void => {
    const { remoteAddress, remotePort, localAddress, localPort } = connection;
    logTurnedAway(context, because, {
      sourceAddress: formatAuthority(remoteAddress, remotePort),
      destinationAddress: formatAuthority(localAddress, localPort),
      direction: "inbound",
      error: `${because}: ${authority}`,
    });
    client.refuse(new Failure("UPSTREAM_REFUSED", because), status);
  };
  if (workload === undefined) {
    refuse({ status: 503, because: GONE });
    return;
  }
  const target = targetOf(snapshot, workload, authority);
  if ("because" in target) {
    refuse(target);
    return;
  }
  const facts: ConnectionFacts = {
    sourceIdentity: connection.peer,
    sourceAddress: connection.remoteAddress,
    // Not the socket's: where one address serves all workloads, that is nobody's.
    destinationAddress: target.address ?? connection.localAddress,
    destinationPort: target.port,
  };
  const hint = forwardedHost(header(request.headers, "forwarded"));
  const asked = { authority, hint };
  new Inbound(context, workload, facts, connection.remotePort, client, asked).start();
}

/** The service that a client says it meant: for metrics and logs only. */
function forwardedHost(forwarded: string | undefined): string | undefined {
  return /(?:^|;)host=([a-z0-9._-]{1,253})(?:;|$)/i.exec(forwarded ?? "")?.[1]?.toLowerCase();
}

/** Of the workload's services the one that was meant, or else one with that target port. */
function serviceOf(
  snapshot: Snapshot,
  workload: Workload,
  port: number,
  hint: string | undefined,
): Service | undefined {
  let found: Service | undefined;
  for (const [key, ports] of workload.services) {
    const service = snapshot.services.get(key);
    if (service === undefined || ![...ports.values()].includes(port)) continue;
    if (service.hostname === hint) return service;
    found ??= service;
  }
  return found;
}

/** A plain connection to a workload of the mesh, from outside it (or from a plain workload). */
export function acceptPlain(
  context: ZtunnelContext,
  workload: Workload,
  address: string,
  port: number,
  client: OutboundClient,
  remote: { address: string; port: number },
): void {
  const facts: ConnectionFacts = {
    sourceIdentity: undefined,
    sourceAddress: remote.address,
    destinationAddress: address,
    destinationPort: port,
  };
  new Inbound(context, workload, facts, remote.port, client).start();
}

/** What an authority means here, or why it means nothing. */
function targetOf(
  snapshot: Snapshot,
  workload: Workload,
  authority: string,
): { readonly address: string | undefined; readonly port: number } | BadTarget {
  const parsed = parseAuthority(authority);
  if (parsed === undefined) return { status: 400, because: "CONNECT with a malformed authority" };
  const { host, port } = parsed;
  if (MESH_PORTS.has(port)) {
    return { status: 503, because: "CONNECT to a port of the mesh itself" };
  }
  if (workload.addresses.includes(host)) return { address: host, port };
  if (net.isIP(host) !== 0) {
    return { status: 400, because: "CONNECT to an address that is not this workload's" };
  }
  for (const [key, ports] of workload.services) {
    if (snapshot.services.get(key)?.hostname !== host) continue;
    const target = ports.get(port);
    if (target !== undefined) return { address: workload.addresses[0], port: target };
  }
  return { status: 503, because: "CONNECT to a host name that is not this workload's" };
}

class Inbound implements RelayListener, OpenConnection, Carried {
  readonly facts: ConnectionFacts;
  readonly #context: ZtunnelContext;
  readonly #workload: Workload;
  readonly #client: Client;
  readonly #record: ConnectionRecord;
  readonly #remotePort: number;
  #decider: L4Decider | undefined;
  #dialling: { abort(): void } | undefined;
  #application: ByteStream | undefined;
  #downstream: ByteStream | undefined;
  #cutBecause: string | undefined;
  /** Joined, refused or given up. */
  #isSettled = false;

  constructor(
    context: ZtunnelContext,
    workload: Workload,
    facts: ConnectionFacts,
    remotePort: number,
    client: Client,
    asked?: { readonly authority: string; readonly hint: string | undefined },
  ) {
    this.#context = context;
    this.#workload = workload;
    this.facts = facts;
    this.#remotePort = remotePort;
    this.#client = client;
    const { current } = context.snapshots;
    const sourceUid = current.addresses.get(facts.sourceAddress)?.workloads[0];
    const port = asked === undefined ? facts.destinationPort : HBONE_PORT;
    this.#record = new ConnectionRecord(context, {
      direction: "inbound",
      source: sourceUid === undefined ? undefined : current.workloads.get(sourceUid),
      sourceAddress: formatAuthority(facts.sourceAddress, remotePort),
      sourceIdentity: facts.sourceIdentity,
      destination: workload,
      destinationAddress: formatAuthority(facts.destinationAddress, port),
      service: serviceOf(current, workload, facts.destinationPort, asked?.hint),
      hboneAddress: asked?.authority,
    });
  }

  start(): void {
    if (!this.#context.carried.add(this)) {
      this.#context.limitsReached.reached("connections");
      const failure = new Failure("TOO_MANY_CONNECTIONS");
      this.#isSettled = true;
      this.#record.turnedAway("too many connections", failure.message);
      this.#client.refuse(failure, 503);
      return;
    }
    this.#decider = l4Decider(this.#context.snapshots.current, this.#workload);
    this.#countShadows(this.#decider);
    if (!this.#isAdmitted(this.#decider)) return;
    if (this.#context.decisions.recordsAll) this.#recordDecision("-");
    this.#client.hold(() => this.#giveUp(new Failure("DOWNSTREAM_RESET")));
    const { sourceAddress, destinationPort } = this.facts;
    const app = this.#context.appAddress(this.#workload, destinationPort, sourceAddress);
    const { host, port, localAddress } = app;
    const options = { host, port, timeoutMs: CONNECT_TIMEOUT_MS };
    this.#dialling = connectTcp(
      localAddress === undefined ? options : { ...options, localAddress },
      (result) => {
        if (result instanceof Failure) this.#fail("CONNECT", result, 503);
        else this.#join(result);
      },
    );
  }

  /** Policies that are tried out; once for a connection, however often it is judged. */
  #countShadows(decider: L4Decider): void {
    const { shadow } = decider;
    if (shadow === undefined) return;
    const counts = this.#context.shadows.of(shadow, this.#workload.workloadName, "");
    shadow.judge(this.facts, decider.authorize(this.facts), counts);
  }

  /** False: it has been refused. */
  #isAdmitted(decider: L4Decider): boolean {
    const verdict = decider.authorize(this.facts);
    if (verdict.isAllowed) return true;
    this.#recordDecision("DENY");
    const reason = denial(verdict);
    // In the log in ztunnel's very words, which are searched for: without the code.
    this.#fail("DENY", new Failure("UPSTREAM_REFUSED", reason), 401, reason);
    return false;
  }

  #join(socket: net.Socket): void {
    const { snapshots, connections } = this.#context;
    const application = new TcpStream(socket);
    this.#application = application;
    const { uid } = this.#workload;
    const workload = snapshots.current.workloads.get(uid);
    if (workload === undefined) {
      application.reset("cancel");
      this.#fail("CONNECT", new Failure("UPSTREAM_REFUSED", GONE), 503);
      return;
    }
    // Policy may have changed while the application was dialled: nothing judged this one again.
    const decider = l4Decider(snapshots.current, workload);
    if (decider !== this.#decider && !this.#isAdmitted(decider)) {
      application.reset("cancel");
      return;
    }
    this.#isSettled = true;
    this.#record.opened();
    connections.add(uid, decider, this);
    const downstream = this.#client.take();
    this.#downstream = downstream;
    this.#client.pourInto(new Relay(downstream, application, this));
  }

  /** Before it was joined. */
  #fail(flags: string, failure: Failure, status: number, reason = failure.message): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#context.carried.remove(this);
    this.#record.failed(flags, reason);
    this.#client.refuse(failure, status);
  }

  #giveUp(failure: Failure): void {
    if (this.#isSettled) return;
    this.#dialling?.abort();
    this.#fail("", failure, 503);
  }

  onRelayEnd(sent: number, received: number, reset: StreamReset | undefined): void {
    this.#context.connections.remove(this.#workload.uid, this);
    this.#context.carried.remove(this);
    this.#record.closed(sent, received, this.#cutBecause ?? errorOf(reset));
  }

  cut(because: string, cause: CutReason): void {
    if (!this.#isSettled) {
      this.#giveUp(new Failure("UPSTREAM_REFUSED", because));
      return;
    }
    this.#cutBecause = because;
    this.#context.metrics.connectionCut(cause);
    this.#application?.reset("cancel");
    // Of itself: the application may be done while its last bytes still wait for the client.
    this.#downstream?.reset("cancel");
  }

  #recordDecision(flags: "DENY" | "-"): void {
    const { sourceAddress } = this.facts;
    this.#context.decisions.record({
      id: `${sourceAddress}:${this.#remotePort}`,
      proxy: "ztunnel",
      target: this.#workload.uid,
      atMs: Date.now(),
      facts: this.facts,
      snapshot: this.#context.snapshots.current,
      payload: {
        hop: { proxy: "ztunnel", workload: this.#workload.uid },
        draw: 0,
        status: 0,
        flags,
        servedBy: "",
      },
    });
  }
}
