/** gRPC clients through a waypoint: grpc-js against grpc-js, and connect against it as well. */
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  AggregatedDiscoveryService,
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from "../../src/wire/gen/envoy/discovery_pb.ts";
import {
  Authorization,
  CheckRequestSchema,
  CheckResponseSchema,
} from "../../src/wire/gen/envoy/ext_authz_pb.ts";
import { ClientMesh, GRPC, H2C } from "./client-mesh.ts";

const raw = { requestSerialize: pass, requestDeserialize: pass };
const rawBack = { responseSerialize: pass, responseDeserialize: pass };

function pass(bytes: Buffer): Buffer {
  return bytes;
}

function method(name: string, requestStream: boolean, responseStream: boolean) {
  return { path: `/test.Echo/${name}`, requestStream, responseStream, ...raw, ...rawBack };
}

const ECHO = {
  unary: method("Unary", false, false),
  gather: method("Gather", true, false),
  spread: method("Spread", false, true),
  converse: method("Converse", true, true),
  wait: method("Wait", false, false),
  fail: method("Fail", false, false),
};

/** Calls that the client has given up, as the server learns of it. */
let cancelled = 0;

const handlers: grpc.UntypedServiceImplementation = {
  unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
    const trailers = new grpc.Metadata();
    trailers.set("x-trailer", String(call.metadata.get("x-routed")));
    done(null, call.request, trailers);
  },
  gather: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
    const all: Buffer[] = [];
    call.on("data", (bytes: Buffer) => all.push(bytes));
    call.on("end", () => done(null, Buffer.concat(all)));
  },
  spread: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
    for (let i = 0; i < 100; i++) call.write(Buffer.from(`${call.request}${i}`));
    call.end();
  },
  converse: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
    call.on("data", (bytes: Buffer) => call.write(bytes));
    call.on("end", () => call.end());
    call.on("cancelled", () => cancelled++);
  },
  wait: (call: grpc.ServerUnaryCall<Buffer, Buffer>) => {
    call.on("cancelled", () => cancelled++);
  },
  fail: (_call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
    done({ code: grpc.status.ABORTED, details: "no, really: 100 %" });
  },
};

/** A server that never answers and knows nothing of deadlines: what it is asked, how it ends. */
const silent = http2.createServer();
let silentCalls: { timeout: string; rstCode: number | undefined }[] = [];
silent.on("stream", (stream, headers) => {
  const call = {
    timeout: String(headers["grpc-timeout"]),
    rstCode: undefined as number | undefined,
  };
  silentCalls.push(call);
  stream.on("error", () => {});
  stream.on("close", () => {
    call.rstCode = stream.rstCode;
  });
});

const server = new grpc.Server();
let mesh: ClientMesh;
let door = 0;
let client: grpc.Client & Record<string, (...values: never[]) => unknown>;

/** The two services of connect's tests, on the same server. */
function addOurs(): void {
  const { check } = Authorization.method;
  server.addService(
    {
      check: {
        path: `/${Authorization.typeName}/${check.name}`,
        ...{ requestStream: false, responseStream: false, ...raw, ...rawBack },
      },
    },
    {
      check: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
        const asked = fromBinary(CheckRequestSchema, call.request);
        const message = asked.attributes?.request?.http?.path ?? "";
        if (message === "/wait") {
          call.on("cancelled", () => cancelled++);
          return;
        }
        const response = create(CheckResponseSchema, { status: { code: 7, message } });
        done(null, Buffer.from(toBinary(CheckResponseSchema, response)));
      },
    },
  );
  const { deltaAggregatedResources: delta } = AggregatedDiscoveryService.method;
  server.addService(
    {
      delta: {
        path: `/${AggregatedDiscoveryService.typeName}/${delta.name}`,
        ...{ requestStream: true, responseStream: true, ...raw, ...rawBack },
      },
    },
    {
      delta: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
        call.on("data", (bytes: Buffer) => {
          const { typeUrl } = fromBinary(DeltaDiscoveryRequestSchema, bytes);
          const response = create(DeltaDiscoveryResponseSchema, { typeUrl, nonce: typeUrl });
          call.write(Buffer.from(toBinary(DeltaDiscoveryResponseSchema, response)));
        });
        call.on("end", () => call.end());
      },
    },
  );
}

beforeAll(async () => {
  server.addService(ECHO, handlers);
  addOurs();
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const silentPort = (silent.address() as AddressInfo).port;
  mesh = await ClientMesh.start({ [GRPC]: port, [H2C]: silentPort });
  door = await mesh.door(GRPC);
  const Echo = grpc.makeGenericClientConstructor(ECHO, "Echo");
  client = new Echo(
    `127.0.0.1:${door}`,
    grpc.credentials.createInsecure(),
  ) as unknown as typeof client;
});

afterAll(async () => {
  client?.close();
  await mesh?.stop();
  server.forceShutdown();
  silent.close();
});

async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 5_000;
  while (!isSo() && performance.now() < endMs) await new Promise((r) => setTimeout(r, 10));
  expect(isSo()).toBe(true);
}

describe("grpc-js", () => {
  type Unary = (
    request: Buffer,
    options: grpc.CallOptions,
    done: (error: grpc.ServiceError | null, answer?: Buffer) => void,
  ) => grpc.ClientUnaryCall;

  const call = (name: string) => (client[name] as unknown as Unary).bind(client);

  async function ask(name: string, request: Buffer, options: grpc.CallOptions = {}) {
    return await new Promise<{ code: number; details: string; answer: Buffer | undefined }>(
      (resolve) => {
        call(name)(request, options, (error, answer) =>
          resolve({ code: error?.code ?? 0, details: error?.details ?? "", answer }),
        );
      },
    );
  }

  test("unary, with trailers, small and large", async () => {
    for (const size of [0, 10, 3 << 20]) {
      const request = Buffer.alloc(size, "x");
      let trailers: grpc.Metadata | undefined;
      const answer = await new Promise<Buffer | undefined>((resolve) => {
        const one = call("unary")(request, {}, (_error, got) => resolve(got));
        one.on("status", (status: grpc.StatusObject) => {
          trailers = status.metadata;
        });
      });
      expect(answer?.equals(request)).toBe(true);
      await until(() => trailers !== undefined);
      expect(trailers!.get("x-trailer")).toEqual(["GRPCRoute"]);
    }
  });

  test("client streaming", async () => {
    const answer = await new Promise<Buffer | undefined>((resolve) => {
      const gather = client.gather as unknown as (
        done: (error: unknown, answer?: Buffer) => void,
      ) => grpc.ClientWritableStream<Buffer>;
      const stream = gather.call(client, (_error, got) => resolve(got));
      for (let i = 0; i < 100; i++) stream.write(Buffer.from(`${i},`));
      stream.end();
    });
    expect(String(answer)).toBe(Array.from({ length: 100 }, (_, i) => `${i},`).join(""));
  });

  test("server streaming", async () => {
    const spread = client.spread as unknown as (b: Buffer) => grpc.ClientReadableStream<Buffer>;
    const got: string[] = [];
    for await (const bytes of spread.call(client, Buffer.from("n"))) got.push(String(bytes));
    expect(got).toEqual(Array.from({ length: 100 }, (_, i) => `n${i}`));
  });

  const converse = () =>
    (client.converse as unknown as () => grpc.ClientDuplexStream<Buffer, Buffer>).call(client);

  test("both ways, one after the other", async () => {
    const stream = converse();
    const answers = stream[Symbol.asyncIterator]();
    for (let i = 0; i < 20; i++) {
      stream.write(Buffer.from(`${i}`));
      expect(String((await answers.next()).value)).toBe(`${i}`);
    }
    stream.end();
    expect((await answers.next()).done).toBe(true);
  });

  test("a status and its message, as the server has said them", async () => {
    expect(await ask("fail", Buffer.alloc(1))).toMatchObject({
      code: grpc.status.ABORTED,
      details: "no, really: 100 %",
    });
  });

  test("a deadline ends the call on both sides", async () => {
    const before = cancelled;
    const { code } = await ask("wait", Buffer.alloc(1), { deadline: Date.now() + 200 });
    expect(code).toBe(grpc.status.DEADLINE_EXCEEDED);
    await until(() => cancelled === before + 1);
  });

  /** A call of the silent server: how it ends for the client. */
  async function askSilent(metadata: grpc.Metadata, options: grpc.CallOptions) {
    const credentials = grpc.credentials.createInsecure();
    const own = new grpc.Client(`127.0.0.1:${await mesh.door(H2C)}`, credentials);
    silentCalls = [];
    const error = await new Promise<grpc.ServiceError | null>((resolve) => {
      own.makeUnaryRequest("/a.B/C", pass, pass, Buffer.alloc(1), metadata, options, resolve);
    });
    await until(() => silentCalls[0]?.rstCode !== undefined);
    own.close();
    return { code: error?.code, details: error?.details, ...silentCalls[0]! };
  }

  test("a deadline cancels the call at a server that does not look at it", async () => {
    const { code, timeout, rstCode } = await askSilent(new grpc.Metadata(), {
      deadline: Date.now() + 300,
    });
    expect(code).toBe(grpc.status.DEADLINE_EXCEEDED);
    expect(rstCode).toBe(http2.constants.NGHTTP2_CANCEL);
    expect(timeout).toMatch(/^[0-9]{1,8}[mu]$/);
  });

  test("… also when the client does not keep it itself", async () => {
    const metadata = new grpc.Metadata();
    metadata.set("grpc-timeout", "300m");
    expect(await askSilent(metadata, {})).toEqual({
      ...{ code: grpc.status.DEADLINE_EXCEEDED, details: "upstream request timeout" },
      ...{ timeout: "300m", rstCode: http2.constants.NGHTTP2_CANCEL },
    });
  });

  test("a cancelled call is cancelled at the server", async () => {
    const before = cancelled;
    const stream = converse();
    const ended = new Promise<grpc.ServiceError>((resolve) => stream.on("error", resolve));
    stream.write(Buffer.from("x"));
    await new Promise((resolve) => stream.once("data", resolve));
    stream.cancel();
    expect((await ended).code).toBe(grpc.status.CANCELLED);
    await until(() => cancelled === before + 1);
  });
});

describe("connect", () => {
  const transport = () => createGrpcTransport({ baseUrl: `http://127.0.0.1:${door}` });
  const asking = (path: string) =>
    create(CheckRequestSchema, { attributes: { request: { http: { path } } } });

  test("unary", async () => {
    const answer = await createClient(Authorization, transport()).check(asking("/a"));
    expect(answer.status).toMatchObject({ code: 7, message: "/a" });
  });

  test("both ways", async () => {
    const ours = createClient(AggregatedDiscoveryService, transport());
    async function* requests() {
      for (let i = 0; i < 20; i++) {
        yield create(DeltaDiscoveryRequestSchema, { typeUrl: `type-${i}` });
      }
    }
    const got: string[] = [];
    for await (const { nonce } of ours.deltaAggregatedResources(requests())) got.push(nonce);
    expect(got).toEqual(Array.from({ length: 20 }, (_, i) => `type-${i}`));
  });

  test("a deadline, and a call that is given up", async () => {
    const before = cancelled;
    const ours = createClient(Authorization, transport());
    const late = await ours.check(asking("/wait"), { timeoutMs: 200 }).catch((e: unknown) => e);
    expect((late as ConnectError).code).toBe(Code.DeadlineExceeded);
    const signal = AbortSignal.timeout(100);
    const gone = await ours.check(asking("/wait"), { signal }).catch((e: unknown) => e);
    expect(gone).toBeInstanceOf(ConnectError);
    await until(() => cancelled === before + 2);
  });
});
