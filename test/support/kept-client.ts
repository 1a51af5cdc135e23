/**
 * An application that asks over HTTP/1.1 inside a tunnel, as a connection pool does: it keeps its
 * connection until the answer says `connection: close`, the other side ends it, or it has asked
 * often enough; then it makes another. Everything but an answer of 200 is a failure.
 */
import type { TunnelListener } from "../../src/net/hbone/tunnel-pool.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import { sleep } from "./worker-mesh.ts";

const REQUEST = Buffer.from("GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n");

export interface KeptClientOptions {
  readonly connect: (listener: TunnelListener) => void;
  readonly pauseMs: number;
  /** Requests on one connection. */
  readonly requestsMax: number;
}

export class KeptClient {
  readonly #options: KeptClientOptions;
  readonly failures: string[] = [];
  answered = 0;
  connections = 0;
  isStopped = false;

  constructor(options: KeptClientOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    while (!this.isStopped) {
      this.connections++;
      await this.#talk();
      await sleep(this.#options.pauseMs);
    }
  }

  /** One connection, until it is over. */
  #talk(): Promise<void> {
    return new Promise((resolve) => {
      this.#options.connect({
        onOpen: (stream) => new Conversation(stream, this, this.#options, resolve),
        onRefused: (failure) => {
          this.failures.push(`connect: ${failure.message}`);
          resolve();
        },
      });
    });
  }
}

class Conversation {
  readonly #stream: Http2Stream;
  readonly #client: KeptClient;
  readonly #options: KeptClientOptions;
  #text = "";
  #asked = 0;
  #isAsking = false;

  constructor(
    stream: Http2Stream,
    client: KeptClient,
    options: KeptClientOptions,
    done: () => void,
  ) {
    this.#stream = stream;
    this.#client = client;
    this.#options = options;
    stream.consumer = {
      onData: (bytes, start, end) => {
        stream.credit(end - start);
        this.#text += bytes.toString("latin1", start, end);
        if (this.#text.endsWith("\r\n\r\nok")) this.#onAnswer();
      },
      onEnd: () => {
        if (this.#isAsking) client.failures.push("ended without an answer");
        this.#isAsking = false;
        stream.end();
      },
      onClosed: (reset) => {
        if (this.#isAsking) client.failures.push(`closed: ${reset?.detail}`);
        done();
      },
    };
    this.#ask();
  }

  #ask(): void {
    if (this.#stream.isClosed) return;
    if (this.#client.isStopped || this.#asked >= this.#options.requestsMax) {
      this.#stream.end();
      return;
    }
    this.#asked++;
    this.#isAsking = true;
    this.#text = "";
    this.#stream.write(REQUEST, 0, REQUEST.length, null);
  }

  #onAnswer(): void {
    this.#isAsking = false;
    if (this.#text.startsWith("HTTP/1.1 200")) this.#client.answered++;
    else this.#client.failures.push(this.#text);
    if (/connection: close/i.test(this.#text)) this.#stream.end();
    else setTimeout(() => this.#ask(), this.#options.pauseMs);
  }
}
