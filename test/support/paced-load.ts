/**
 * Requests at a rate of their own, whatever the answers take (open loop), as an application's
 * connection pool sends them: over the connection that has rested longest, over a new one for each
 * `freshEvery`-th or when there is none. A connection that says `connection: close` or ends is not
 * used again. Everything but an answer of 200 is a failure.
 */
import type net from "node:net";

const REQUEST = "GET /load HTTP/1.1\r\nhost: echo\r\n";
const LAST_REQUEST = `${REQUEST}connection: close\r\n`;
const TICK_MS = 5;
const ANSWER_TIMEOUT_MS = 10_000;

export interface PacedLoadOptions {
  readonly connect: () => net.Socket;
  readonly perSecond: number;
  /** Connections that are kept from the start on. */
  readonly kept: number;
  /** Every so many requests, one has a connection of its own. */
  readonly freshEvery: number;
  /** A line of each request's head. */
  readonly header?: () => string;
}

export class PacedLoad {
  readonly #options: PacedLoadOptions;
  readonly failures: string[] = [];
  sent = 0;
  answered = 0;
  connections = 0;
  /** Kept connections that are resting, the longest first. */
  readonly #resting: Connection[] = [];
  readonly #open = new Set<Connection>();
  readonly #timer: NodeJS.Timeout;
  readonly #startMs = performance.now();
  #worstMs = 0;

  constructor(options: PacedLoadOptions) {
    this.#options = options;
    for (let i = 0; i < options.kept; i++) this.#connect(false).ask();
    this.#timer = setInterval(() => this.#sendDue(), TICK_MS);
  }

  #sendDue(): void {
    const { perSecond, kept, freshEvery } = this.#options;
    const due = kept + ((performance.now() - this.#startMs) * perSecond) / 1000;
    while (this.sent < due) {
      const isFresh = this.sent % freshEvery === 0;
      const resting = isFresh ? undefined : this.#resting.shift();
      (resting ?? this.#connect(isFresh)).ask();
    }
  }

  #connect(isFresh: boolean): Connection {
    this.connections++;
    const { connect, header = () => "" } = this.#options;
    const connection = new Connection(connect(), isFresh, {
      header,
      onSent: () => {
        this.sent++;
      },
      onAnswer: (tookMs) => {
        this.answered++;
        this.#worstMs = Math.max(this.#worstMs, tookMs);
        if (!connection.isOver) this.#resting.push(connection);
      },
      onFailure: (why) => this.failures.push(why),
      onOver: () => {
        this.#open.delete(connection);
        const index = this.#resting.indexOf(connection);
        if (index >= 0) this.#resting.splice(index, 1);
      },
    });
    this.#open.add(connection);
    return connection;
  }

  /** Waits for the answers that are due. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    const endMs = performance.now() + ANSWER_TIMEOUT_MS;
    const owed = () => this.sent - this.answered - this.failures.length;
    while (owed() > 0 && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (owed() > 0) this.failures.push(`${owed()} requests without an answer`);
    for (const connection of this.#open) connection.close();
  }

  get perSecond(): number {
    return (this.answered * 1000) / (performance.now() - this.#startMs);
  }

  get text(): string {
    const { answered, connections, failures } = this;
    const rate = `${Math.round(this.perSecond)}/s, slowest ${Math.round(this.#worstMs)} ms`;
    return `${answered} answered (${rate}) over ${connections} connections, ${failures.length} failed`;
  }
}

interface ConnectionEvents {
  header(): string;
  onSent(): void;
  onAnswer(tookMs: number): void;
  onFailure(why: string): void;
  /** It is not to be used again. */
  onOver(): void;
}

class Connection {
  readonly #socket: net.Socket;
  readonly #isFresh: boolean;
  readonly #events: ConnectionEvents;
  #text = "";
  #askedAtMs: number | undefined;
  isOver = false;

  constructor(socket: net.Socket, isFresh: boolean, events: ConnectionEvents) {
    this.#socket = socket;
    this.#isFresh = isFresh;
    this.#events = events;
    socket.on("data", (bytes) => this.#onData(bytes.toString("latin1")));
    socket.on("end", () => this.#onEnd("ended"));
    socket.on("close", () => this.#onEnd("closed"));
    socket.on("error", (caught) => this.#onEnd(caught.message));
  }

  ask(): void {
    this.#text = "";
    this.#askedAtMs = performance.now();
    this.#events.onSent();
    const head = this.#isFresh ? LAST_REQUEST : REQUEST;
    this.#socket.write(`${head}${this.#events.header()}\r\n`);
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(more: string): void {
    this.#text += more;
    const headEnd = this.#text.indexOf("\r\n\r\n");
    if (headEnd < 0 || this.#askedAtMs === undefined) return;
    const head = this.#text.slice(0, headEnd);
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    if (this.#text.length < headEnd + 4 + length) return;
    const tookMs = performance.now() - this.#askedAtMs;
    this.#askedAtMs = undefined;
    if (/^connection: close$/im.test(head)) this.#over();
    if (head.startsWith("HTTP/1.1 200 ")) this.#events.onAnswer(tookMs);
    else {
      this.#events.onFailure(this.#text);
      this.#over();
    }
  }

  #onEnd(how: string): void {
    if (this.#askedAtMs !== undefined) {
      this.#askedAtMs = undefined;
      this.#events.onFailure(`${how} without an answer: ${JSON.stringify(this.#text)}`);
    }
    this.#over();
  }

  #over(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#socket.end();
    this.#events.onOver();
  }
}
