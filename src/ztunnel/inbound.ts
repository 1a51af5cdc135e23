/**
 * Connections that arrive for a workload: through a tunnel (with a proven identity), or in plain
 * text (without one). Both are judged by the same L4 policies, then joined to the application.
 *
 *     tunnel:  authority is the workload's?  400   may they?  401   application reached?  503   200
 *     plain:                                      may they?  RST   application reached?  RST
 */
import type net from "node:net";
import { Failure } from "../kit/failure.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import type { ByteStream, StreamReset } from "../net/byte-stream.ts";
import { EarlyBytes } from "../net/early-bytes.ts";
import { formatAuthority, parseAuthority } from "../net/hbone/authority.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import { encodeStatelessBlock } from "../net/http2/headers.ts";
import type { Http2Stream } from "../net/http2/stream.ts";
import { Relay, type RelayListener } from "../net/relay.ts";
import { connectTcp, TcpStream } from "../net/tcp-stream.ts";
import { type L4Decider, l4Decider } from "../policy/decider.ts";
import type { ConnectionFacts } from "../policy/facts.ts";
import { HBONE_PORT } from "../policy/next-hop.ts";
import { ConnectionRecord } from "./connection-record.ts";
import type { ZtunnelContext } from "./context.ts";
import { denial, type OpenConnection } from "./open-connections.ts";

const OK = encodeStatelessBlock([":status", "200"]);

/** Ports of the mesh itself: a tunnel to them would come back to us. */
const ILLEGAL_PORTS = new Set([15001, 15006, HBONE_PORT]);

const CONNECT_TIMEOUT_MS = 10_000;

/** How the two kinds of clients are told. */
interface Client {
  readonly stream: ByteStream;
  accept(): void;
  refuse(status: number): void;
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
  const client: Client = {
    stream,
    accept: () => stream.respond(OK, false),
    refuse: (status) => {
      stream.respond([":status", String(status)], true);
      stream.reset("cancel");
    },
  };
  if (workload === undefined) {
    client.refuse(503);
    return;
  }
  const port = targetPort(snapshot, workload, request.authority);
  if (typeof port === "string") {
    context.log.warn({ authority: request.authority, peer: connection.peer }, port);
    client.refuse(400);
    return;
  }
  const facts: ConnectionFacts = {
    sourceIdentity: connection.peer,
    sourceAddress: connection.remoteAddress,
    destinationAddress: connection.localAddress,
    destinationPort: port,
  };
  new Inbound(context, workload, facts, connection.remotePort, client).start();
}

/** A plain connection to a workload of the mesh, from outside it (or from a plain workload). */
export function acceptPlain(
  context: ZtunnelContext,
  workload: Workload,
  address: string,
  port: number,
  stream: TcpStream,
  remote: { address: string; port: number },
): void {
  const client: Client = { stream, accept() {}, refuse: () => stream.reset("refused") };
  const facts: ConnectionFacts = {
    sourceIdentity: undefined,
    sourceAddress: remote.address,
    destinationAddress: address,
    destinationPort: port,
  };
  new Inbound(context, workload, facts, remote.port, client).start();
}

/** The port that an authority means here, or why it means nothing. */
function targetPort(snapshot: Snapshot, workload: Workload, authority: string): number | string {
  const parsed = parseAuthority(authority);
  if (parsed === undefined) return "CONNECT with a malformed authority";
  if (ILLEGAL_PORTS.has(parsed.port)) return "CONNECT to a port of the mesh itself";
  if (workload.addresses.includes(parsed.host)) return parsed.port;
  for (const [key, ports] of workload.services) {
    if (snapshot.services.get(key)?.hostname !== parsed.host) continue;
    const target = ports.get(parsed.port);
    if (target !== undefined) return target;
  }
  return "CONNECT to an address that is not this workload's";
}

class Inbound implements RelayListener, OpenConnection {
  readonly facts: ConnectionFacts;
  readonly #context: ZtunnelContext;
  readonly #workload: Workload;
  readonly #client: Client;
  readonly #record: ConnectionRecord;
  readonly #remotePort: number;
  #decider: L4Decider | undefined;
  #application: ByteStream | undefined;
  #cutBecause: string | undefined;

  constructor(
    context: ZtunnelContext,
    workload: Workload,
    facts: ConnectionFacts,
    remotePort: number,
    client: Client,
  ) {
    this.#context = context;
    this.#workload = workload;
    this.facts = facts;
    this.#remotePort = remotePort;
    this.#client = client;
    const { current } = context.snapshots;
    const sourceUid = current.addresses.get(facts.sourceAddress)?.workloads[0];
    const service = [...workload.services].find(([, ports]) =>
      [...ports.values()].includes(facts.destinationPort),
    );
    const to = formatAuthority(facts.destinationAddress, facts.destinationPort);
    this.#record = new ConnectionRecord(context, {
      direction: "inbound",
      source: sourceUid === undefined ? undefined : current.workloads.get(sourceUid),
      sourceAddress: formatAuthority(facts.sourceAddress, remotePort),
      sourceIdentity: facts.sourceIdentity,
      destination: workload,
      destinationAddress: to,
      service: service && current.services.get(service[0]),
      hboneAddress: facts.sourceIdentity && formatAuthority(facts.destinationAddress, HBONE_PORT),
    });
  }

  start(): void {
    const { current } = this.#context.snapshots;
    this.#decider = l4Decider(current, this.#workload);
    const verdict = this.#decider.authorize(this.facts);
    if (!verdict.isAllowed) {
      this.#recordDenial(current);
      this.#record.failed("DENY", denial(verdict));
      this.#client.refuse(401);
      return;
    }
    const early = new EarlyBytes(this.#client.stream, () => dialling.abort());
    const { sourceAddress, destinationPort } = this.facts;
    const app = this.#context.appAddress(this.#workload, destinationPort, sourceAddress);
    const { host, port, localAddress } = app;
    const options = { host, port, timeoutMs: CONNECT_TIMEOUT_MS };
    const dialling = connectTcp(
      localAddress === undefined ? options : { ...options, localAddress },
      (result) => this.#onDialled(result, early),
    );
  }

  #onDialled(result: net.Socket | Failure, early: EarlyBytes): void {
    if (result instanceof Failure) {
      this.#record.failed("CONNECT", result.message);
      this.#client.refuse(503);
      return;
    }
    this.#application = new TcpStream(result);
    this.#client.accept();
    this.#record.opened();
    this.#context.connections.add(this.#workload.uid, this.#decider!, this);
    early.pourInto(new Relay(this.#client.stream, this.#application, this));
  }

  onRelayEnd(sent: number, received: number, reset: StreamReset | undefined): void {
    this.#context.connections.remove(this.#workload.uid, this);
    this.#record.closed(sent, received, this.#cutBecause ?? reset?.detail);
  }

  cut(because: string): void {
    this.#cutBecause = because;
    this.#client.stream.reset("cancel");
    this.#application?.reset("cancel");
  }

  #recordDenial(snapshot: Snapshot): void {
    const { sourceAddress } = this.facts;
    this.#context.decisions.record({
      id: `${sourceAddress}:${this.#remotePort}`,
      proxy: "ztunnel",
      target: this.#workload.uid,
      atMs: Date.now(),
      facts: this.facts,
      snapshot,
      payload: {
        hop: { proxy: "ztunnel", workload: this.#workload.uid },
        draw: 0,
        status: 0,
        flags: "DENY",
        servedBy: "",
      },
    });
  }
}
