/**
 * A scripted delta client on HTTP/2 itself: it sends what the test says, and reads, answers and
 * leaves when the test says.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from "node:http2";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../../src/wire/gen/envoy/discovery_pb.ts";

const PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const PREFIX_BYTES = 5;

export interface RawAdsClientOptions {
  readonly port: number;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Shared with other clients; else one of its own. */
  readonly session?: ClientHttp2Session;
}

/** Length-prefixed, as gRPC frames a message. */
export function frame(message: Uint8Array, announced = message.length): Buffer {
  const framed = Buffer.alloc(PREFIX_BYTES + message.length);
  framed.writeUInt32BE(announced, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

export function dial(port: number): ClientHttp2Session {
  const session = connect(`https://localhost:${port}`, {
    rejectUnauthorized: false,
    settings: { initialWindowSize: 65_535 },
  });
  session.on("error", () => {});
  return session;
}

export class RawAdsClient {
  readonly session: ClientHttp2Session;
  readonly stream: ClientHttp2Stream;
  /** What has come and was not asked for yet. */
  readonly responses: DeltaDiscoveryResponse[] = [];
  head: IncomingHttpHeaders | undefined;
  trailers: IncomingHttpHeaders | undefined;
  isEnded = false;
  /** False: a client that goes on when its server has ended the stream. */
  endsInTurn = true;
  #bytes: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;

  constructor({ port, token = "good", headers = {}, session }: RawAdsClientOptions) {
    this.session = session ?? dial(port);
    this.stream = this.session.request({
      ":method": "POST",
      ":path": PATH,
      te: "trailers",
      "content-type": "application/grpc",
      authorization: `Bearer ${token}`,
      clusterid: "Kubernetes",
      ...headers,
    });
    this.stream.on("error", () => {});
    this.stream.on("response", (head) => {
      this.head = head;
      // An answer that is trailers only.
      if (head["grpc-status"] !== undefined) this.trailers = head;
    });
    this.stream.on("trailers", (trailers) => {
      this.trailers = trailers;
    });
    this.stream.on("end", () => {
      if (this.endsInTurn) this.stream.end();
    });
    this.stream.on("close", () => {
      this.isEnded = true;
      this.#wake?.();
    });
  }

  /** From now on, until `pause`. A client that never calls it does not read. */
  read(): this {
    this.stream.on("data", (chunk: Buffer) => this.#take(chunk));
    return this;
  }

  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }

  #take(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    while (this.#bytes.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + this.#bytes.readUInt32BE(1);
      if (this.#bytes.length < end) return;
      const message = this.#bytes.subarray(PREFIX_BYTES, end);
      this.responses.push(fromBinary(DeltaDiscoveryResponseSchema, Uint8Array.from(message)));
      this.#bytes = this.#bytes.subarray(end);
      this.#wake?.();
    }
  }

  send(request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): this {
    const message = create(DeltaDiscoveryRequestSchema, request);
    this.stream.write(frame(toBinary(DeltaDiscoveryRequestSchema, message)));
    return this;
  }

  sendBytes(bytes: Uint8Array): this {
    this.stream.write(bytes);
    return this;
  }

  ack({ typeUrl, nonce }: DeltaDiscoveryResponse): void {
    this.send({ typeUrl, responseNonce: nonce });
  }

  nack({ typeUrl, nonce }: DeltaDiscoveryResponse, message: string): void {
    this.send({ typeUrl, responseNonce: nonce, errorDetail: { code: 0, message } });
  }

  /** The next response; rejects when none comes, or the stream has ended. */
  async next(timeoutMs = 5_000): Promise<DeltaDiscoveryResponse> {
    const deadlineMs = performance.now() + timeoutMs;
    while (this.responses.length === 0) {
      const leftMs = deadlineMs - performance.now();
      if (this.isEnded) throw new Error(`ended: ${JSON.stringify(this.trailers)}`);
      if (leftMs <= 0) throw new Error("no response");
      await this.#woken(leftMs);
    }
    return this.responses.shift()!;
  }

  /** The next response, answered. */
  async taken(): Promise<DeltaDiscoveryResponse> {
    const response = await this.next();
    this.ack(response);
    return response;
  }

  async ended(timeoutMs = 5_000): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (!this.isEnded) {
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw new Error("the stream goes on");
      await this.#woken(leftMs);
    }
  }

  #woken(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** RST_STREAM. */
  cancel(): void {
    this.stream.close(constants.NGHTTP2_CANCEL);
  }

  /** Ends the connection at once. */
  destroy(): void {
    this.session.destroy();
  }
}
