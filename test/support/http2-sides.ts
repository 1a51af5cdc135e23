/** A consumer that writes down what happens, and connections of ours to use it with. */
import type { ByteConsumer, StreamReset } from "../../src/net/byte-stream.ts";
import { type ConnectionHandler, Http2Connection } from "../../src/net/http2/connection.ts";
import type { PeerError } from "../../src/net/http2/errors.ts";
import type { HeaderList } from "../../src/net/http2/headers.ts";
import { type Http2Limits, TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import type { HeadersListener, Http2Stream } from "../../src/net/http2/stream.ts";
import { MemoryTransport, ScriptedPeer } from "./peer.ts";

export const CONNECT: HeaderList = [":method", "CONNECT", ":authority", "10.0.0.1:80"];
export const OK: HeaderList = [":status", "200"];

/** Receives everything, credits at once unless told to hold, and keeps a log in words. */
export class Recorder implements ByteConsumer, HeadersListener {
  readonly log: string[] = [];
  stream: Http2Stream | undefined;
  isHolding = false;
  heldBytes = 0;
  reset: StreamReset | undefined;
  isClosed = false;
  #bytes: Buffer[] = [];

  of(stream: Http2Stream): this {
    this.stream = stream;
    stream.consumer = this;
    stream.listener = this;
    return this;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#bytes);
  }

  onHeaders(headers: HeaderList, endStream: boolean, isTrailers: boolean): void {
    this.log.push(`${isTrailers ? "trailers" : "headers"} ${headers.join(" ")} ${endStream}`);
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.#bytes.push(Buffer.from(bytes.subarray(start, end)));
    if (this.isHolding) this.heldBytes += end - start;
    else this.stream!.credit(end - start);
  }

  onEnd(): void {
    this.log.push("end");
  }

  onClosed(reset: StreamReset | undefined): void {
    if (this.isClosed) throw new Error("closed twice");
    this.isClosed = true;
    this.reset = reset;
    this.log.push(`closed ${reset === undefined ? "orderly" : `${reset.by} ${reset.detail}`}`);
  }

  /** Credits what is held. */
  release(): void {
    const count = this.heldBytes;
    this.heldBytes = 0;
    this.isHolding = false;
    this.stream!.credit(count);
  }
}

/** What a connection tells its owner; streams are accepted and recorded. */
export class Owner implements ConnectionHandler {
  readonly log: string[] = [];
  readonly streams: Recorder[] = [];
  readonly errors: PeerError[] = [];
  onAccept: (stream: Http2Stream, headers: HeaderList, recorder: Recorder) => void = () => {};

  onStream(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    const recorder = new Recorder().of(stream);
    recorder.log.push(`request ${headers.join(" ")} ${endStream}`);
    this.streams.push(recorder);
    this.onAccept(stream, headers, recorder);
  }

  onPeerError(error: PeerError): void {
    this.errors.push(error);
  }

  onReady(): void {
    this.log.push("ready");
  }

  onGoaway(): void {
    this.log.push("goaway");
  }

  onIdle(): void {
    this.log.push("idle");
  }

  onClosed(failure: { message: string } | undefined): void {
    this.log.push(`closed ${failure?.message ?? "orderly"}`);
  }
}

export interface Scripted {
  readonly peer: ScriptedPeer;
  readonly owner: Owner;
  readonly connection: Http2Connection;
}

/** A connection of ours in `role`, with a peer by hand that has not sent anything yet. */
export function scripted(role: "client" | "server", limits: Partial<Http2Limits> = {}): Scripted {
  const peer = new ScriptedPeer();
  const owner = new Owner();
  const connection = new Http2Connection(peer, role, owner, { ...TUNNEL_LIMITS, ...limits });
  return { peer, owner, connection };
}

/** The same, after both sides' SETTINGS. */
export async function greeted(
  role: "client" | "server",
  limits: Partial<Http2Limits> = {},
  ...entries: readonly (readonly [number, number])[]
): Promise<Scripted> {
  const sides = scripted(role, limits);
  sides.peer.greet(role === "server" ? "client" : "server", ...entries);
  await sides.peer.frames();
  return sides;
}

export interface Pair {
  readonly client: Http2Connection;
  readonly server: Http2Connection;
  readonly clientOwner: Owner;
  readonly serverOwner: Owner;
}

/** Two connections of ours, joined in memory. */
export function pair(limits: Partial<Http2Limits> = {}, pieceBytes?: number): Pair {
  const [left, right] = MemoryTransport.pair(pieceBytes);
  const [clientOwner, serverOwner] = [new Owner(), new Owner()];
  const all = { ...TUNNEL_LIMITS, ...limits };
  const client = new Http2Connection(left, "client", clientOwner, all);
  const server = new Http2Connection(right, "server", serverOwner, all);
  return { client, server, clientOwner, serverOwner };
}

/** Waits, turn by turn, until something is so. */
export async function until(isSo: () => boolean, turns = 10_000): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    if (isSo()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`not so after ${turns} turns: ${isSo}`);
}

export function turns(count = 5): Promise<void> {
  let left = count;
  return until(() => left-- <= 0);
}
