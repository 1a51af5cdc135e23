/**
 * A scripted control plane on HTTP/2 itself: it takes streams and sends what the test says, sound
 * or not.
 */
import { createSecureServer, type Http2SecureServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { ServerIdentity } from "../../src/control/serve/server-certificate.ts";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from "../../src/wire/gen/envoy/discovery_pb.ts";
import { until } from "./ads.ts";
import { frame } from "./raw-ads-client.ts";

const PREFIX_BYTES = 5;

/** One client's stream. */
export class ScriptedStream {
  readonly requests: DeltaDiscoveryRequest[] = [];
  readonly headers: Readonly<Record<string, unknown>>;
  isClosed = false;
  readonly #stream: ServerHttp2Stream;
  #bytes: Buffer = Buffer.alloc(0);
  #nonce = 0;

  constructor(stream: ServerHttp2Stream, headers: Readonly<Record<string, unknown>>) {
    this.#stream = stream;
    this.headers = headers;
    stream.on("error", () => {});
    stream.on("close", () => {
      this.isClosed = true;
    });
  }

  /** Begins the answer; a server that never does is silent. */
  begin(): this {
    this.#stream.respond(
      { ":status": 200, "content-type": "application/grpc" },
      { waitForTrailers: true },
    );
    return this;
  }

  read(): this {
    this.#stream.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      while (this.#bytes.length >= PREFIX_BYTES) {
        const end = PREFIX_BYTES + this.#bytes.readUInt32BE(1);
        if (this.#bytes.length < end) return;
        const message = Uint8Array.from(this.#bytes.subarray(PREFIX_BYTES, end));
        this.requests.push(fromBinary(DeltaDiscoveryRequestSchema, message));
        this.#bytes = this.#bytes.subarray(end);
      }
    });
    return this;
  }

  /** The answer to the response with this nonce. */
  async answerTo(nonce: string): Promise<DeltaDiscoveryRequest> {
    const found = () => this.requests.find(({ responseNonce }) => responseNonce === nonce);
    await until(() => found() !== undefined, `${nonce} is answered`);
    return found()!;
  }

  /** Returns its nonce. */
  send(response: MessageInitShape<typeof DeltaDiscoveryResponseSchema>): string {
    const nonce = `n${++this.#nonce}`;
    const message = create(DeltaDiscoveryResponseSchema, { nonce, ...response });
    this.sendBytes(frame(toBinary(DeltaDiscoveryResponseSchema, message)));
    return nonce;
  }

  /** False: the client does not keep up. */
  sendBytes(bytes: Uint8Array): boolean {
    return this.#stream.write(bytes);
  }

  end(status = "0", message = ""): void {
    this.#stream.once("wantTrailers", () =>
      this.#stream.sendTrailers({ "grpc-status": status, "grpc-message": message }),
    );
    this.#stream.end();
  }
}

export class ScriptedControlPlane {
  readonly streams: ScriptedStream[] = [];
  readonly #server: Http2SecureServer;
  readonly #sockets = new Set<Socket>();
  /** What happens to each new stream. */
  onStream: (stream: ScriptedStream) => void = (stream) => stream.begin().read();

  private constructor(server: Http2SecureServer) {
    this.#server = server;
    server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    server.on("sessionError", () => {});
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      const scripted = new ScriptedStream(stream, headers);
      this.streams.push(scripted);
      this.onStream(scripted);
    });
  }

  static async start(identity: ServerIdentity): Promise<ScriptedControlPlane> {
    const { certPem: cert, keyPem: key } = identity;
    const server = createSecureServer({ cert, key });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new ScriptedControlPlane(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** The client's n-th stream, when it comes. */
  async stream(index = 0): Promise<ScriptedStream> {
    await until(() => this.streams.length > index, `stream ${index}`);
    return this.streams[index]!;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
