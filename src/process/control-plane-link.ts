/**
 * A proxy's way to its control plane: configuration by delta ADS, certificates by the CA, both over
 * TLS under the mesh's roots with the proxy's token.
 */
import { AdsClient } from "../agent/ads-client.ts";
import { CaClient } from "../agent/ca-client.ts";
import type { CertificateAuthority } from "../agent/certificates.ts";
import { GrpcChannel } from "../agent/grpc-channel.ts";
import { LastConfiguration } from "../agent/last-configuration.ts";
import { MeshState } from "../agent/mesh-state.ts";
import { WorkloadSplice } from "../agent/workload-splice.ts";
import { log } from "../kit/log.ts";
import type { HostPort } from "../net/listeners.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import type { ResourceSink } from "../wire/resource.ts";
import type { ProxyState } from "./program.ts";

/** Who the proxy says it is to the control plane; what counts is its token. */
export interface ProxyNode {
  readonly kind: "ztunnel" | "waypoint";
  readonly instanceIp: string;
  readonly podName: string;
  readonly namespace: string;
  readonly nodeName: string;
  readonly clusterId: string;
  /** `<ns>/<name>` of a waypoint's Gateway: it is sent what that one serves. */
  readonly gateway?: string | undefined;
  /** Of this software. */
  readonly version: string;
}

export interface ControlPlaneOptions {
  readonly xds: HostPort;
  readonly ca: HostPort;
  /** SPIFFE id of the control plane, where its certificate is a workload's. */
  readonly controlPlaneIdentity?: string | undefined;
  /** Whose word on workloads counts (beside istiod). */
  readonly istiod?: HostPort | undefined;
  /** PEM; read again for each connection. */
  readonly roots: () => Promise<string>;
  /** Read again for each stream and call. */
  readonly token: () => Promise<string>;
  readonly node: ProxyNode;
  /** A file that keeps the last good configuration, for a start without the control plane. */
  readonly lastConfiguration: string | undefined;
}

export interface ControlPlaneLink {
  readonly authority: CertificateAuthority;
  /** What the control plane has sent. */
  readonly state: ProxyState;
  /**
   * Feeds the state, or a sink in its place, from now on, again after each loss of the connection.
   */
  start(registry: MetricRegistry, sink?: ResourceSink): Promise<void>;
  close(): Promise<void>;
}

/** Opens nothing yet: connections are made when they are needed. */
export function connectControlPlane(options: ControlPlaneOptions): ControlPlaneLink {
  return new WireLink(options);
}

class WireLink implements ControlPlaneLink {
  readonly authority: CertificateAuthority;
  readonly state = new MeshState();
  readonly #options: ControlPlaneOptions;
  readonly #channel: GrpcChannel;
  readonly #channels: readonly GrpcChannel[];
  readonly #istiod: GrpcChannel | undefined;
  #clients: readonly AdsClient[] = [];
  #last: LastConfiguration | undefined;

  constructor(options: ControlPlaneOptions) {
    this.#options = options;
    const { xds, ca, istiod, controlPlaneIdentity } = options;
    this.#channel = channelTo(xds, options, controlPlaneIdentity);
    const isSame = isSamePlace(xds, ca) && controlPlaneIdentity === undefined;
    const channel = isSame ? this.#channel : channelTo(ca, options);
    if (istiod !== undefined) {
      this.#istiod = isSamePlace(istiod, ca) ? channel : channelTo(istiod, options);
    }
    this.#channels = [...new Set([this.#channel, channel, this.#istiod ?? channel])];
    this.authority = new CaClient({ channel, impersonates: options.node.kind === "ztunnel" });
  }

  async start(registry: MetricRegistry, sink: ResourceSink = this.state): Promise<void> {
    const { lastConfiguration: path, node } = this.#options;
    if (path !== undefined) {
      this.#last = new LastConfiguration({ path, sink, log: log("configuration") });
      await this.#last.load();
    }
    const feeding = this.#last ?? sink;
    const splice = this.#istiod && new WorkloadSplice(feeding);
    const common = { node: discoveryNode(node), registry };
    const mesh = { channel: this.#channel, sink: splice?.mesh ?? feeding };
    this.#clients = [new AdsClient({ ...common, ...mesh })];
    if (splice !== undefined && this.#istiod !== undefined) {
      // Its metrics are the mesh's: one proxy has one set of them.
      const workloads = { channel: this.#istiod, sink: splice.workloads };
      const { node } = common;
      const client = new AdsClient({ node, serverName: "istiod", ...workloads });
      this.#clients = [...this.#clients, client];
    }
    for (const client of this.#clients) client.start();
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.#last?.close();
    for (const channel of this.#channels) channel.close();
  }
}

function channelTo(
  at: HostPort,
  { roots, token, node }: ControlPlaneOptions,
  identity?: string,
): GrpcChannel {
  return new GrpcChannel({ ...at, roots, token, clusterId: node.clusterId, identity });
}

function isSamePlace(a: HostPort, b: HostPort): boolean {
  return a.host === b.host && a.port === b.port;
}

/** As Istio's proxies name themselves (protocols.md §1.5). */
function discoveryNode(node: ProxyNode) {
  const { kind, instanceIp, podName, namespace, nodeName, clusterId, gateway, version } = node;
  return {
    id: `${kind}~${instanceIp}~${podName}.${namespace}~${namespace}.svc.cluster.local`,
    metadata: {
      NAME: podName,
      NAMESPACE: namespace,
      INSTANCE_IPS: instanceIp,
      NODE_NAME: nodeName,
      CLUSTER_ID: clusterId,
      ISTIO_VERSION: version,
      ...(gateway !== undefined && { GATEWAY: gateway }),
    },
  };
}
