/**
 * Asks the resolvers behind us, over UDP first and over TCP when the answer was cut short.
 *
 * Each question has a socket and an id of its own, drawn at random: who would forge an answer has
 * 32 bits to guess. Questions under way are bounded, and each ends by its time-out.
 */
import { randomInt } from "node:crypto";
import dgram from "node:dgram";
import net from "node:net";
import { type DnsQuery, isAnswerTo, isTruncated } from "./message.ts";
import type { DnsServerAddress } from "./resolver-config.ts";

export interface DnsUpstreamOptions {
  /** In order of preference. */
  readonly servers: readonly DnsServerAddress[];
  /** For one resolver's answer; default 2,000. */
  readonly timeoutMs?: number;
  /** Questions under way; default 1,024. */
  readonly maxPending?: number;
}

/** Why there is no answer. */
export type UpstreamProblem = "no_resolver" | "busy" | "timeout" | "unreachable" | "malformed";

export type UpstreamResult = { readonly answer: Buffer } | { readonly problem: UpstreamProblem };

const TIMEOUT_MS = 2_000;
const PENDING_MAX = 1_024;

export class DnsUpstream {
  readonly #servers: readonly DnsServerAddress[];
  readonly #timeoutMs: number;
  readonly #maxPending: number;
  readonly #pending = new Set<Question>();

  constructor(options: DnsUpstreamOptions) {
    this.#servers = options.servers;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#maxPending = options.maxPending ?? PENDING_MAX;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** `bytes`: the query as it came. The answer has the query's id, and may be truncated. */
  ask(bytes: Buffer, query: DnsQuery, isWhole: boolean, done: (result: UpstreamResult) => void) {
    if (this.#servers.length === 0) done({ problem: "no_resolver" });
    else if (this.#pending.size >= this.#maxPending) done({ problem: "busy" });
    else {
      const question = new Question(bytes, query, isWhole, this.#timeoutMs, (result) => {
        this.#pending.delete(question);
        done(result);
      });
      this.#pending.add(question);
      question.ask(this.#servers);
    }
  }

  close(): void {
    for (const question of [...this.#pending]) question.end({ problem: "unreachable" });
  }
}

/** One question, at one resolver after another. */
class Question {
  readonly #bytes: Buffer;
  readonly #query: DnsQuery;
  readonly #isWhole: boolean;
  readonly #timeoutMs: number;
  readonly #done: (result: UpstreamResult) => void;
  readonly #id = randomInt(65_536);
  #servers: readonly DnsServerAddress[] = [];
  #timer: NodeJS.Timeout | undefined;
  #close: () => void = () => {};
  #isOver = false;

  constructor(
    bytes: Buffer,
    query: DnsQuery,
    isWhole: boolean,
    timeoutMs: number,
    done: (result: UpstreamResult) => void,
  ) {
    this.#bytes = Buffer.from(bytes);
    this.#bytes.writeUInt16BE(this.#id, 0);
    this.#query = query;
    this.#isWhole = isWhole;
    this.#timeoutMs = timeoutMs;
    this.#done = done;
  }

  ask(servers: readonly DnsServerAddress[]): void {
    const [server, ...others] = servers;
    this.#servers = others;
    this.#askOverUdp(server!);
  }

  end(result: UpstreamResult): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#leave();
    this.#done(result);
  }

  #leave(): void {
    clearTimeout(this.#timer);
    this.#close();
    this.#close = () => {};
  }

  /** This resolver has not answered: the next one, or the end. */
  #next(problem: UpstreamProblem): void {
    if (this.#isOver) return;
    this.#leave();
    if (this.#servers.length > 0) this.ask(this.#servers);
    else this.end({ problem });
  }

  #askOverUdp(server: DnsServerAddress): void {
    const socket = dgram.createSocket(net.isIPv6(server.host) ? "udp6" : "udp4");
    let isClosed = false;
    this.#close = () => {
      if (!isClosed) socket.close();
      isClosed = true;
    };
    this.#timer = setTimeout(() => this.#next("timeout"), this.#timeoutMs);
    socket.on("error", () => {
      if (!isClosed) this.#next("unreachable");
    });
    socket.on("message", (answer) => {
      if (!isClosed) this.#onAnswer(answer, () => this.#askOverTcp(server));
    });
    // Connected: only this resolver's datagrams arrive, and its absence is told.
    socket.connect(server.port, server.host, () => {
      if (!isClosed) socket.send(this.#bytes, () => {});
    });
  }

  #askOverTcp(server: DnsServerAddress): void {
    this.#leave();
    const socket = net.connect(server.port, server.host);
    this.#close = () => socket.destroy();
    this.#timer = setTimeout(() => this.#next("timeout"), this.#timeoutMs);
    const chunks: Buffer[] = [];
    let isOver = false;
    const fail = (problem: UpstreamProblem) => {
      if (isOver) return;
      isOver = true;
      this.#next(problem);
    };
    socket.on("error", () => fail("unreachable"));
    socket.on("close", () => fail("unreachable"));
    socket.on("data", (chunk) => {
      if (isOver) return;
      chunks.push(chunk);
      const all = Buffer.concat(chunks);
      if (all.length < 2 || all.length < 2 + all.readUInt16BE(0)) return;
      isOver = true;
      this.#onAnswer(all.subarray(2, 2 + all.readUInt16BE(0)), undefined);
      if (!this.#isOver) this.#next("malformed");
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(this.#bytes.length);
    socket.write(Buffer.concat([length, this.#bytes]));
  }

  #onAnswer(answer: Buffer, askAgain: (() => void) | undefined): void {
    if (this.#isOver) return;
    const kind = isAnswerTo(answer, this.#id, this.#query.question);
    // Somebody else's, or forged: the right one may still come.
    if (kind === "other") return;
    if (kind === "broken") {
      if (askAgain !== undefined) this.#next("malformed");
    } else if (isTruncated(answer) && this.#isWhole && askAgain !== undefined) askAgain();
    else {
      const own = Buffer.from(answer);
      own.writeUInt16BE(this.#query.id, 0);
      this.end({ answer: own });
    }
  }
}
