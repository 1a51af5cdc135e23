/**
 * `waystone control-plane`: configuration from files or a Kubernetes API server, served to proxies
 * together with their certificates, on one TLS port.
 *
 *     objects ─ Configuration ─ Snapshot ─┬─ delta ADS
 *     state directory ─ root, token key   └─ CreateCertificate
 */

import { configDump } from "../agent/config-dump.ts";
import { CandidateAnalysis } from "../control/candidate-analysis.ts";
import type { ClusterDuties } from "../control/cluster/cluster-duties.ts";
import { Configuration, type ConfigurationEvent } from "../control/configuration.ts";
import { registerControlMetrics } from "../control/control-metrics.ts";
import { JwksFetcher } from "../control/jwks/jwks-fetcher.ts";
import { AdmissionReviews } from "../control/serve/admission-reviews.ts";
import { AdsServer } from "../control/serve/ads-server.ts";
import { CertificateService } from "../control/serve/certificate-service.ts";
import { DebugPages } from "../control/serve/debug-pages.ts";
import { DebugService } from "../control/serve/debug-service.ts";
import { GrpcServer } from "../control/serve/grpc-server.ts";
import { MeshResources } from "../control/serve/mesh-resources.ts";
import { monitoringRoutes } from "../control/serve/monitoring-routes.ts";
import { SERVER_NAMES } from "../control/serve/server-certificate.ts";
import { WaypointScopes } from "../control/serve/waypoint-scopes.ts";
import { createWebhookServer } from "../control/serve/webhook-server.ts";
import type { ObjectSource } from "../control/source/object-source.ts";
import type { HostPort } from "../net/listeners.ts";
import { type ClusterWorkOptions, clusterWork } from "./cluster-work.ts";
import {
  clusterIdentities,
  type IdentitySource,
  istiodIdentities,
  localIdentities,
  type OwnCertificate,
} from "./identity-source.ts";
import { ProcessHost, type ProcessHostOptions } from "./process-host.ts";

export interface ControlPlaneProcessOptions extends Omit<ProcessHostOptions, "component"> {
  /** Paths of files, or another source. */
  readonly objects: readonly string[] | ObjectSource;
  /** The cluster that is written to, too; `objects` is its source. */
  readonly cluster?: ClusterWorkOptions | undefined;
  /** Of this process among others that do the same. */
  readonly podName?: string;
  readonly stateDirectory: string;
  readonly at: HostPort;
  /** Names and addresses beside the usual ones under which proxies dial it. */
  readonly serverNames: readonly string[];
  readonly trustedNodeAccounts: readonly string[];
  /** Where an API server asks whether it may store an object. */
  readonly webhook?: HostPort | undefined;
  readonly onEvent: (event: ConfigurationEvent) => void;
  /** Gives up a start that waits for an API server. */
  readonly signal?: AbortSignal;
}

const NEVER = new AbortController().signal;

/** An analysis that takes longer is not made with every change. */
const ANALYSIS_MS_MAX = 20;

export class ControlPlaneProcess {
  readonly #options: ControlPlaneProcessOptions;
  readonly #host: ProcessHost;
  readonly #configuration: Configuration;
  #jwks: JwksFetcher | undefined;
  #server: GrpcServer | undefined;
  #identities: IdentitySource | undefined;
  #duties: ClusterDuties | undefined;
  #certificate: OwnCertificate | undefined;
  #diagnosticsTold = "";
  /** What the last analysis took, and when it ended. */
  #analysisMs = 0;
  #analysisEndMs = 0;
  #nextAnalysis: NodeJS.Timeout | undefined;

  /** Resolves when it serves; rejects with CONFIGURATION_INVALID if the files do not parse. */
  static async start(options: ControlPlaneProcessOptions): Promise<ControlPlaneProcess> {
    const started = new ControlPlaneProcess(options);
    try {
      await started.#start();
    } catch (caught) {
      await started.#end(true);
      throw caught;
    }
    return started;
  }

  private constructor(options: ControlPlaneProcessOptions) {
    this.#options = options;
    this.#host = new ProcessHost({ ...options, component: "pilot" });
    this.#configuration = new Configuration(options.objects);
  }

  /** Where proxies connect. */
  get at(): HostPort {
    return { host: this.#options.at.host, port: this.#server?.port ?? 0 };
  }

  async #start(): Promise<void> {
    const { onEvent } = this.#options;
    const { readiness, registry, drain } = this.#host;
    readiness.require("configuration", "the objects have not been read yet; the log says why");
    const configuration = this.#configuration;
    let discovery: AdsServer | undefined;
    // Open from the beginning: whoever looks at a start that waits is told what for.
    await this.#host.listen({
      configDump: () => ({
        ...(configDump(configuration.control.current) as object),
        proxies: discovery?.clients ?? [],
      }),
    });
    await this.#load();
    registerControlMetrics(registry, configuration.control);
    this.#jwks = new JwksFetcher({ control: configuration.control, registry });
    this.#tellDiagnostics();
    configuration.onReload((reload) => {
      onEvent({ kind: "reloaded", ...reload });
      this.#tellDiagnosticsSoon();
    });
    const { control } = configuration;
    const identities = await this.#openIdentities();
    this.#identities = identities;
    const { authority, authenticator } = identities;
    this.#certificate = await identities.certificate(this.#serverNames());
    const certificates =
      authority &&
      new CertificateService({
        ...identities,
        authority,
        snapshots: control,
        registry,
        trustedNodeAccounts: this.#options.trustedNodeAccounts,
      });
    const source = new MeshResources(control);
    const scopes = new WaypointScopes(source);
    const rootNamespace = () => control.current.settings.rootNamespace;
    const ads: AdsServer = new AdsServer({
      ...{ source, scopes, authenticator, registry },
      debug: () => debug,
    });
    const pages = new DebugPages(control, ads);
    const { version, podName = "istiod" } = this.#options;
    const debug = new DebugService({ pages, rootNamespace, podName, version });
    this.#host.addMonitoring(
      monitoringRoutes({ version, readiness, pages, authenticator, rootNamespace }),
    );
    discovery = ads;
    this.#server = new GrpcServer({
      ...this.#options.at,
      registry,
      tls: () => this.#certificate!.current,
      routes: (router) => {
        certificates?.routes(router);
        ads.routes(router);
      },
    });
    drain.add(ads);
    drain.add(this.#server);
    await this.#server.listen();
    await this.#listenWebhook();
    const { cluster } = this.#options;
    this.#duties = cluster && clusterWork(cluster, control, registry, identities.duties);
    this.#duties?.start();
    readiness.meet("configuration");
  }

  async #listenWebhook(): Promise<void> {
    const { webhook: at } = this.#options;
    if (at === undefined) return;
    const { control } = this.#configuration;
    const candidates = new CandidateAnalysis(control);
    const reviews = new AdmissionReviews({
      analyze: (candidate) => candidates.diagnosticsOf(candidate),
      registry: this.#host.registry,
    });
    const tls = () => this.#certificate!.current;
    await this.#host.serve(createWebhookServer(reviews, tls), at);
  }

  #openIdentities(): Promise<IdentitySource> {
    const { cluster, stateDirectory, signal = NEVER } = this.#options;
    const { control } = this.#configuration;
    const { settings } = control.current;
    if (cluster === undefined) return localIdentities(stateDirectory, settings.trustDomain);
    const { source, istiod } = cluster;
    if (istiod === undefined) return clusterIdentities(source, control);
    return istiodIdentities(source, settings, istiod, signal);
  }

  async #load(): Promise<void> {
    const { onEvent, signal } = this.#options;
    const giveUp = () => this.#configuration.close();
    signal?.addEventListener("abort", giveUp);
    await this.#configuration
      .loadOrRefuse((diagnostics) => onEvent({ kind: "diagnostics", diagnostics }))
      .finally(() => signal?.removeEventListener("abort", giveUp));
  }

  /** The usual ones, the address that is listened on, and what the operator adds. */
  #serverNames(): readonly string[] {
    const { at, serverNames } = this.#options;
    const isEvery = at.host === "0.0.0.0" || at.host === "::";
    return [...new Set([...SERVER_NAMES, ...(isEvery ? [] : [at.host]), ...serverNames])];
  }

  /**
   * No more than a tenth of the time goes into analyses: one of a large mesh is put off, and so is
   * one that comes soon after another.
   */
  #tellDiagnosticsSoon(): void {
    if (this.#nextAnalysis !== undefined) return;
    const restMs = 9 * this.#analysisMs;
    const isLong = this.#analysisMs >= ANALYSIS_MS_MAX;
    const waitMs = isLong ? restMs : this.#analysisEndMs + restMs - performance.now();
    if (waitMs <= 0) {
      this.#tellDiagnostics();
      return;
    }
    this.#nextAnalysis = setTimeout(() => {
      this.#nextAnalysis = undefined;
      this.#tellDiagnostics();
    }, waitMs).unref();
  }

  /** Told when it is something else than before. */
  #tellDiagnostics(): void {
    const startMs = performance.now();
    const { diagnostics } = this.#configuration;
    this.#analysisEndMs = performance.now();
    this.#analysisMs = this.#analysisEndMs - startMs;
    const text = JSON.stringify(diagnostics);
    if (text === this.#diagnosticsTold) return;
    const isFirst = this.#diagnosticsTold === "";
    this.#diagnosticsTold = text;
    if (isFirst && diagnostics.length === 0) return;
    this.#options.onEvent({ kind: "diagnostics", diagnostics });
  }

  stop(): Promise<void> {
    return this.#end(false);
  }

  /** Cuts every connection; a `stop` that waits for them then resolves. */
  cut(): void {
    this.#host.hasten();
    this.#server?.destroy();
  }

  #end(isHasty: boolean): Promise<void> {
    return this.#host.stop(async () => {
      clearTimeout(this.#nextAnalysis);
      await this.#duties?.close();
      this.#configuration.close();
      this.#jwks?.close();
      this.#certificate?.close();
      this.#identities?.close();
    }, isHasty);
  }
}
