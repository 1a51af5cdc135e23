/**
 * Delta ADS with nothing behind it: a source and a sink of plain resources, and the control plane's
 * port with a source on it.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeRequest } from "../../src/agent/certificates.ts";
import { GrpcChannel, type GrpcChannelLimits } from "../../src/agent/grpc-channel.ts";
import { MeshCertificateAuthority } from "../../src/control/certificate-authority.ts";
import { AdsServer } from "../../src/control/serve/ads-server.ts";
import { type Authenticator, unauthenticated } from "../../src/control/serve/authenticator.ts";
import { GrpcServer } from "../../src/control/serve/grpc-server.ts";
import type { ServerIdentity } from "../../src/control/serve/server-certificate.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { contentVersion, ResourceDigest } from "../../src/wire/digest.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceBatch,
  type ResourceSink,
  type ResourceSource,
  type ResourceType,
  type RevisionStamp,
} from "../../src/wire/resource.ts";

const HOUR_MS = 3_600_000;

/** A change of one resource; without content it is gone. */
export interface Change {
  readonly type: ResourceType;
  readonly name: string;
  readonly content?: string | Uint8Array;
}

const bytesOf = (content: string | Uint8Array) =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;

/** Type and name to version: what a state of the mesh is. */
export type Contents = Readonly<Record<string, string>>;

export class TestSource implements ResourceSource {
  revision: RevisionStamp = { id: 1, digest: new ResourceDigest().toString() };
  /** Every state that there was, by revision. */
  readonly history = new Map<number, Contents>([[1, {}]]);
  /** Names that belong together: `companions` of the first are the others. */
  readonly families = new Map<string, readonly string[]>();
  readonly #byType = new Map<ResourceType, Map<string, EncodedResource>>();
  readonly #digest = new ResourceDigest();
  readonly #listeners = new Set<(batch: ResourceBatch) => void>();

  constructor(first: readonly Change[] = []) {
    if (first.length > 0) this.apply(first);
  }

  resources(type: ResourceType): ReadonlyMap<string, EncodedResource> {
    return this.#of(type);
  }

  companions(_type: ResourceType, name: string): Iterable<string> {
    return this.families.get(name) ?? [];
  }

  subscribe(listener: (batch: ResourceBatch) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  apply(changes: readonly Change[]): void {
    const upserted: EncodedResource[] = [];
    const removed: { type: ResourceType; name: string }[] = [];
    // Of several changes of one resource the last: it is in one of the lists, and once.
    const last = new Map(changes.map((change) => [`${change.type} ${change.name}`, change]));
    for (const { type, name, content } of last.values()) {
      const held = this.#of(type);
      const before = held.get(name);
      if (before !== undefined) this.#digest.remove(type, name, before.version);
      if (content === undefined) {
        held.delete(name);
        if (before !== undefined) removed.push({ type, name });
        continue;
      }
      const bytes = bytesOf(content);
      const resource = { type, name, version: contentVersion(bytes), bytes };
      held.set(name, resource);
      this.#digest.add(type, name, resource.version);
      upserted.push(resource);
    }
    this.revision = { id: this.revision.id + 1, digest: this.#digest.toString() };
    this.history.set(this.revision.id, this.contents);
    for (const listener of this.#listeners)
      listener({ revision: this.revision, upserted, removed });
  }

  get contents(): Contents {
    return contentsOf(this.#byType);
  }

  #of(type: ResourceType): Map<string, EncodedResource> {
    let held = this.#byType.get(type);
    if (held === undefined) {
      held = new Map();
      this.#byType.set(type, held);
    }
    return held;
  }
}

function contentsOf(
  byType: ReadonlyMap<ResourceType, ReadonlyMap<string, { version: string }>>,
): Contents {
  const entries = [...byType].flatMap(([type, held]) =>
    [...held].map(([name, { version }]) => [`${type} ${name}`, version] as const),
  );
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Takes everything, and believes no digest: what it has committed is for the test to judge. */
export class TestSink implements ResourceSink {
  readonly types: readonly ResourceType[] = Object.values(RESOURCE_TYPES);
  readonly committed: { readonly revision: RevisionStamp; readonly contents: Contents }[] = [];
  /** Every call of `stage`, as `type +name -name`. */
  readonly staged: string[] = [];
  /** Resources that have arrived, again or for the first time. */
  received = 0;
  /** Says what is wrong with a resource of this name. */
  refuses: ReadonlyMap<string, string> = new Map();
  /** Why the next revisions are refused. */
  refusal: string | undefined;
  delayMs = 0;
  /** Without the content: many of them are in one process. */
  readonly #byType = new Map<ResourceType, Map<string, { readonly version: string }>>();

  versions(type: ResourceType): ReadonlyMap<string, string> {
    const held = this.#byType.get(type) ?? new Map<string, { readonly version: string }>();
    return new Map([...held].map(([name, { version }]) => [name, version]));
  }

  async stage(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): Promise<readonly string[]> {
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    this.received += upserted.length;
    const names = [...upserted.map(({ name }) => `+${name}`), ...removed.map((name) => `-${name}`)];
    this.staged.push([type.slice(type.lastIndexOf(".") + 1), ...names].join(" "));
    let held = this.#byType.get(type);
    if (held === undefined) {
      held = new Map();
      this.#byType.set(type, held);
    }
    const problems: string[] = [];
    for (const resource of upserted) {
      const problem = this.refuses.get(resource.name);
      if (problem === undefined) held.set(resource.name, { version: resource.version });
      else problems.push(`${resource.name}: ${problem}`);
    }
    for (const name of removed) held.delete(name);
    return problems;
  }

  commit(revision: RevisionStamp): string | undefined {
    if (this.refusal !== undefined) return this.refusal;
    this.committed.push({ revision, contents: this.contents });
    return undefined;
  }

  get contents(): Contents {
    return contentsOf(this.#byType);
  }

  get lastRevision(): number {
    return this.committed.at(-1)?.revision.id ?? 0;
  }
}

/** Tokens `good…` are taken for a service account of that name. */
export const goodTokens: Authenticator = {
  authenticate: async (token) => {
    if (!token?.startsWith("good")) throw unauthenticated("not good");
    return { namespace: "test", serviceAccount: token, podName: undefined, node: undefined };
  },
};

/** A CA of its own, and certificates for `localhost`. */
export class TestAuthority {
  readonly #authority: MeshCertificateAuthority;
  readonly rootsPem: string;

  private constructor(authority: MeshCertificateAuthority, rootsPem: string) {
    this.#authority = authority;
    this.rootsPem = rootsPem;
  }

  static async make(): Promise<TestAuthority> {
    const directory = await mkdtemp(join(tmpdir(), "test-ads-"));
    const authority = await MeshCertificateAuthority.open({
      directory,
      trustDomain: "cluster.local",
    });
    await rm(directory, { recursive: true });
    return new TestAuthority(authority, authority.rootsPem);
  }

  /** As for a workload: by the request that it makes. */
  async issueWorkload(spiffeId: string): Promise<ServerIdentity> {
    const { csrPem, keyPem } = await makeRequest(spiffeId);
    const { chainPem } = await this.#authority.sign({ csrPem, spiffeId, ttlMs: HOUR_MS });
    return { certPem: chainPem, keyPem };
  }

  async issue(names: readonly string[] = ["localhost", "127.0.0.1"]): Promise<ServerIdentity> {
    const issued = await this.#authority.issueServer({ names, ttlMs: HOUR_MS });
    return { certPem: issued.certificatePem, keyPem: issued.keyPem };
  }
}

export interface TestControlPlaneOptions {
  readonly source: ResourceSource;
  readonly authority: TestAuthority;
  readonly port?: number;
}

export class TestControlPlane {
  readonly ads: AdsServer;
  readonly server: GrpcServer;
  readonly registry: MetricRegistry;
  identity: ServerIdentity;

  private constructor(options: TestControlPlaneOptions, identity: ServerIdentity) {
    const { source, port = 0 } = options;
    this.registry = new MetricRegistry();
    this.identity = identity;
    const { registry } = this;
    this.ads = new AdsServer({ source, authenticator: goodTokens, registry });
    this.server = new GrpcServer({
      host: "127.0.0.1",
      port,
      tls: () => this.identity,
      routes: (router) => this.ads.routes(router),
    });
  }

  static async start(options: TestControlPlaneOptions): Promise<TestControlPlane> {
    const started = new TestControlPlane(options, await options.authority.issue());
    await started.server.listen();
    return started;
  }

  get port(): number {
    return this.server.port;
  }

  /** The exposed value of a series, 0 when there is none. */
  metric(series: string): number {
    return metric(this.registry, series);
  }

  /** As a process that is killed. */
  kill(): void {
    this.ads.destroy();
    this.server.destroy();
  }

  async drain(): Promise<void> {
    await Promise.all([this.ads.drain(), this.server.drain()]);
  }
}

export function metric(registry: MetricRegistry, series: string): number {
  const line = registry
    .expose()
    .split("\n")
    .find((one) => one.startsWith(`${series} `));
  return Number(line?.split(" ").at(-1) ?? 0);
}

export function channelTo(
  { port }: { readonly port: number },
  rootsPem: string,
  options: { token?: string; limits?: Partial<GrpcChannelLimits> } = {},
): GrpcChannel {
  const { token = "good", limits = {} } = options;
  return new GrpcChannel({
    host: "localhost",
    port,
    roots: async () => rootsPem,
    token: async () => token,
    clusterId: "Kubernetes",
    limits,
  });
}

export async function until(isSo: () => boolean, what: string, timeoutMs = 5_000): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > deadlineMs) throw new Error(`not so in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
