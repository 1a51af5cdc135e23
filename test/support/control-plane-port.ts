/**
 * The control plane's one port as `waystone control-plane` has it (configuration and certificates
 * over TLS on loopback), before a mesh that the test changes.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { MeshCertificateAuthority } from "../../src/control/certificate-authority.ts";
import { AdsServer } from "../../src/control/serve/ads-server.ts";
import { CertificateService } from "../../src/control/serve/certificate-service.ts";
import { DebugPages } from "../../src/control/serve/debug-pages.ts";
import { DebugService } from "../../src/control/serve/debug-service.ts";
import { GrpcServer } from "../../src/control/serve/grpc-server.ts";
import { ServerCertificate } from "../../src/control/serve/server-certificate.ts";
import { LocalTokens, type TokenSubject } from "../../src/control/serve/tokens.ts";
import type { SnapshotSource } from "../../src/model/snapshot.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import type { ResourceSource } from "../../src/wire/resource.ts";

const HOUR_MS = 3_600_000;
export const ZTUNNEL: TokenSubject = {
  namespace: "istio-system",
  serviceAccount: "ztunnel",
  node: "node-1",
};

export class ControlPlanePort {
  readonly registry = new MetricRegistry();
  readonly authority: MeshCertificateAuthority;
  readonly #directory: string;
  readonly #tokens: LocalTokens;
  readonly #certificate: ServerCertificate;
  #discovery: AdsServer | undefined;
  #server: GrpcServer | undefined;

  private constructor(
    directory: string,
    authority: MeshCertificateAuthority,
    tokens: LocalTokens,
    certificate: ServerCertificate,
  ) {
    this.#directory = directory;
    this.authority = authority;
    this.#tokens = tokens;
    this.#certificate = certificate;
  }

  static async open(): Promise<ControlPlanePort> {
    const directory = await mkdtemp(join(tmpdir(), "control-plane-port-"));
    const authority = await MeshCertificateAuthority.open({
      directory,
      trustDomain: "cluster.local",
    });
    const tokens = await LocalTokens.open(directory);
    const certificate = await ServerCertificate.issue({ authority, names: ["localhost"] });
    return new ControlPlanePort(directory, authority, tokens, certificate);
  }

  /** Serves; a second call takes the place of what served before, on the same port. */
  async serve(source: ResourceSource, snapshots: SnapshotSource): Promise<void> {
    const { port } = this;
    this.cut();
    const [authenticator, registry] = [this.#tokens, new MetricRegistry()];
    const discovery: AdsServer = new AdsServer({
      source,
      authenticator,
      registry: this.registry,
      debug: () => debug,
    });
    const mesh = {
      get current() {
        return snapshots.current;
      },
      object: () => undefined,
      objects: () => [],
    };
    const debug = new DebugService({
      pages: new DebugPages(mesh, discovery),
      rootNamespace: () => "istio-system",
      podName: "istiod-0",
      version: "0.0.0",
    });
    const certificates = new CertificateService({
      authority: this.authority,
      authenticator,
      snapshots,
      registry,
    });
    this.#discovery = discovery;
    this.#server = new GrpcServer({
      host: "127.0.0.1",
      port,
      tls: () => this.#certificate.current,
      routes: (router) => {
        certificates.routes(router);
        discovery.routes(router);
      },
    });
    await this.#server.listen();
  }

  get discovery(): AdsServer {
    return this.#discovery!;
  }

  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** What a proxy needs to call: its roots, and the address. */
  transport(): Transport {
    return createGrpcTransport({
      baseUrl: `https://localhost:${this.port}`,
      nodeOptions: { ca: this.authority.rootsPem, minVersion: "TLSv1.3" },
    });
  }

  async headers(subject: TokenSubject = ZTUNNEL): Promise<Readonly<Record<string, string>>> {
    const token = await this.#tokens.issue(subject, HOUR_MS);
    return { authorization: `Bearer ${token}`, clusterid: "Kubernetes" };
  }

  /** The sum over a metric's series. */
  counted(name: string): number {
    const lines = [...this.registry.exposition()].join("").split("\n");
    const values = lines.filter((line) => line.startsWith(name)).map((line) => line.split(" ")[1]);
    return values.reduce((sum, value) => sum + Number(value), 0);
  }

  /** The configuration streams are ended, then the connections. */
  async drain(): Promise<void> {
    await Promise.all([this.#discovery?.drain(), this.#server?.drain()]);
  }

  /** As a crash does it. */
  cut(): void {
    this.#discovery?.destroy();
    this.#server?.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#certificate.close();
    await rm(this.#directory, { recursive: true });
  }
}
