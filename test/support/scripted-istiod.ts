/**
 * An istiod, message by message: its CA and its workload API on one TLS port (protocols.md §1.5,
 * §2), as far as a waypoint speaks with them. It has what the test gives it, can be away, and can
 * refuse tokens. It shares the transport with our control plane, and none of the exchanges.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { makeRequest } from "../../src/agent/certificates.ts";
import { MeshCertificateAuthority } from "../../src/control/certificate-authority.ts";
import { GrpcServer } from "../../src/control/serve/grpc-server.ts";
import type { ServerIdentity } from "../../src/control/serve/server-certificate.ts";
import { makeTlsIdentity, type TlsIdentity } from "../../src/net/tls.ts";
import { contentVersion } from "../../src/wire/digest.ts";
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../../src/wire/gen/envoy/discovery_pb.ts";
import { IstioCertificateService } from "../../src/wire/gen/istio/ca_pb.ts";
import { ServiceSchema, WorkloadSchema } from "../../src/wire/gen/istio/workload_pb.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";

const ADDRESS = RESOURCE_TYPES.address;
const HOUR_MS = 3_600_000;
const ADDRESS_TAGS = { workload: 0x0a, service: 0x12 };

/** Fields that a newer istiod may send: one of each wire type, all far beyond those of today. */
const UNKNOWN_FIELDS = Uint8Array.from([
  ...[0xb8, 0x3e, 0x07],
  ...[0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
  ...[0xca, 0x3e, 0x03, 0x66, 0x6f, 0x6f],
  ...[0xd5, 0x3e, 1, 2, 3, 4],
]);

function wrapped(tag: number, message: Uint8Array): Uint8Array {
  const body = Buffer.concat([message, UNKNOWN_FIELDS]);
  const length = body.length;
  // Two bytes of length are enough for what tests send.
  return Buffer.concat([Uint8Array.of(tag, (length & 0x7f) | 0x80, length >> 7), body]);
}

export type WorkloadFields = Extract<
  MessageInitShape<typeof WorkloadSchema>,
  { readonly $typeName?: never }
>;

export class ScriptedIstiod {
  readonly #authority: MeshCertificateAuthority;
  readonly #serving: ServerIdentity;
  readonly #addresses = new Map<string, Uint8Array>();
  readonly #streams = new Set<Stream>();
  /** Token → the identity that it is good for. */
  readonly tokens = new Map<string, string>();
  /** Every configuration stream that there was, in order. */
  readonly history: Stream[] = [];
  /** Certificates that were asked for, by what came of it. */
  readonly calls: { readonly spiffeId: string | undefined; readonly clusterId: string | null }[] =
    [];
  /** What the caller asks for otherwise. */
  ttlMsMax = HOUR_MS;
  isAdsRefused = false;
  /** A certificate is given when this has resolved. */
  beforeSigning: () => Promise<void> = async () => {};
  /** Calls whose client has gone before they were answered. */
  abandonedCalls = 0;
  /** False: as before version 1.29. */
  hasVersions = true;
  #server: GrpcServer | undefined;
  #port = 0;

  private constructor(authority: MeshCertificateAuthority, serving: ServerIdentity) {
    this.#authority = authority;
    this.#serving = serving;
  }

  static async start(): Promise<ScriptedIstiod> {
    const directory = await mkdtemp(join(tmpdir(), "scripted-istiod-"));
    const trustDomain = "cluster.local";
    const authority = await MeshCertificateAuthority.open({ directory, trustDomain });
    await rm(directory, { recursive: true });
    const names = ["localhost"];
    const issued = await authority.issueServer({ names, ttlMs: HOUR_MS });
    const serving = { certPem: issued.certificatePem, keyPem: issued.keyPem };
    const istiod = new ScriptedIstiod(authority, serving);
    await istiod.open();
    return istiod;
  }

  get at() {
    return { host: "localhost", port: this.#port };
  }

  get rootsPem(): string {
    return this.#authority.rootsPem;
  }

  /** A certificate of the mesh for somebody else than the waypoint. */
  async identity(spiffeId: string): Promise<TlsIdentity> {
    const { csrPem, keyPem } = await makeRequest(spiffeId);
    const { chainPem, rootsPem } = await this.#authority.sign({ csrPem, spiffeId, ttlMs: HOUR_MS });
    return makeTlsIdentity({ certificatePem: chainPem, keyPem, rootsPem });
  }

  /** On the port of before, when there was one. */
  async open(): Promise<void> {
    this.#server = new GrpcServer({
      host: "127.0.0.1",
      port: this.#port,
      tls: () => this.#serving,
      routes: (router) => this.#routes(router),
    });
    await this.#server.listen();
    this.#port = this.#server.port;
  }

  /** As a process that is killed. */
  cut(): void {
    this.#server?.destroy();
    for (const stream of this.#streams) stream.close();
  }

  set(uid: string, fields: WorkloadFields): void {
    const message = toBinary(WorkloadSchema, create(WorkloadSchema, { uid, ...fields }));
    this.setBytes(uid, wrapped(ADDRESS_TAGS.workload, message));
  }

  setService(name: string, fields: MessageInitShape<typeof ServiceSchema>): void {
    const message = toBinary(ServiceSchema, create(ServiceSchema, fields));
    this.setBytes(name, wrapped(ADDRESS_TAGS.service, message));
  }

  setBytes(name: string, bytes: Uint8Array): void {
    this.#addresses.set(name, bytes);
    for (const stream of this.#streams) stream.push([name], []);
  }

  remove(name: string): void {
    this.#addresses.delete(name);
    for (const stream of this.#streams) stream.push([], [name]);
  }

  get names(): readonly string[] {
    return [...this.#addresses.keys()];
  }

  resource(name: string) {
    const value = this.#addresses.get(name)!;
    const version = this.versionOf(name);
    return { name, version, resource: { typeUrl: ADDRESS, value } };
  }

  versionOf(name: string): string {
    const bytes = this.#addresses.get(name);
    return this.hasVersions && bytes !== undefined ? contentVersion(bytes) : "";
  }

  #routes(router: ConnectRouter): void {
    router.service(IstioCertificateService, {
      createCertificate: (request, context) => this.#sign(request, context),
    });
    router.service(AggregatedDiscoveryService, {
      deltaAggregatedResources: (requests, context) => this.#discover(requests, context),
    });
  }

  /** Of the request only the key counts; the identity is the token's. */
  async #sign(
    { csr: csrPem, validityDuration }: { csr: string; validityDuration: bigint },
    { requestHeader, signal }: HandlerContext,
  ) {
    const spiffeId = this.#caller(requestHeader);
    this.calls.push({ spiffeId, clusterId: requestHeader.get("clusterid") });
    if (spiffeId === undefined) {
      throw new ConnectError("request authenticate failure", Code.Unauthenticated);
    }
    let isAnswered = false;
    signal.addEventListener("abort", () => {
      if (!isAnswered) this.abandonedCalls++;
    });
    await this.beforeSigning();
    isAnswered = true;
    const ttlMs = Math.min(Number(validityDuration) * 1000, this.ttlMsMax);
    const { chainPem, rootsPem } = await this.#authority.sign({ csrPem, spiffeId, ttlMs });
    return { certChain: [chainPem, rootsPem] };
  }

  #caller(headers: Headers): string | undefined {
    const token = /^Bearer (.*)$/.exec(headers.get("authorization") ?? "")?.[1];
    return token === undefined ? undefined : this.tokens.get(token);
  }

  async *#discover(
    requests: AsyncIterable<DeltaDiscoveryRequest>,
    { requestHeader }: HandlerContext,
  ): AsyncGenerator<DeltaDiscoveryResponse> {
    if (this.isAdsRefused || this.#caller(requestHeader) === undefined) {
      throw new ConnectError("authentication failure", Code.Unauthenticated);
    }
    const stream = new Stream(this);
    this.#streams.add(stream);
    this.history.push(stream);
    void stream.listen(requests);
    try {
      yield* stream.responses();
    } finally {
      this.#streams.delete(stream);
    }
  }
}

/** One client's stream. */
class Stream {
  readonly requests: DeltaDiscoveryRequest[] = [];
  readonly #istiod: ScriptedIstiod;
  readonly #waiting: DeltaDiscoveryResponse[] = [];
  #wake: (() => void) | undefined;
  #isSubscribed = false;
  #isClosed = false;
  #nonce = 0;

  constructor(istiod: ScriptedIstiod) {
    this.#istiod = istiod;
  }

  /** What it said of the responses it had, in order: undefined is an ACK. */
  get answers(): readonly (string | undefined)[] {
    const answered = this.requests.filter(({ responseNonce }) => responseNonce !== "");
    return answered.map(({ errorDetail }) => errorDetail?.message);
  }

  async listen(requests: AsyncIterable<DeltaDiscoveryRequest>): Promise<void> {
    try {
      for await (const request of requests) {
        this.requests.push(request);
        if (request.responseNonce === "") this.#begin(request);
      }
    } catch {
      // It was cut.
    }
    this.close();
  }

  /** All that the client does not have, in one response; also when that is nothing. */
  #begin({ typeUrl, initialResourceVersions: held }: DeltaDiscoveryRequest): void {
    if (typeUrl !== ADDRESS) {
      this.#respond(typeUrl, [], []);
      return;
    }
    this.#isSubscribed = true;
    const { names } = this.#istiod;
    const isNews = (name: string) => {
      const version = this.#istiod.versionOf(name);
      return version === "" || held[name] !== version;
    };
    const gone = Object.keys(held).filter((name) => !names.includes(name));
    this.#respond(ADDRESS, names.filter(isNews), gone);
  }

  push(changed: readonly string[], removed: readonly string[]): void {
    if (this.#isSubscribed) this.#respond(ADDRESS, changed, removed);
  }

  #respond(typeUrl: string, changed: readonly string[], removed: readonly string[]): void {
    const nonce = `nonce-${++this.#nonce}`;
    const resources = changed.map((name) => this.#istiod.resource(name));
    const removedResources = [...removed];
    const message = { typeUrl, nonce, resources, removedResources };
    this.#waiting.push(create(DeltaDiscoveryResponseSchema, message));
    this.#wake?.();
  }

  async *responses(): AsyncGenerator<DeltaDiscoveryResponse> {
    while (!this.#isClosed) {
      const next = this.#waiting.shift();
      if (next !== undefined) yield next;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }
}
