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
}

export interface ControlPlaneOptions {
  readonly xds: HostPort;
  readonly ca: HostPort;
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
  #client: AdsClient | undefined;
  #last: LastConfiguration | undefined;

  constructor(options: ControlPlaneOptions) {
    this.#options = options;
    const { xds, ca } = options;
    this.#channel = channelTo(xds, options);
    const isSame = xds.host === ca.host && xds.port === ca.port;
    const channel = isSame ? this.#channel : channelTo(ca, options);
    this.#channels = isSame ? [channel] : [this.#channel, channel];
    this.authority = new CaClient({ channel, impersonates: options.node.kind === "ztunnel" });
  }

  async start(registry: MetricRegistry, sink: ResourceSink = this.state): Promise<void> {
    const { lastConfiguration: path, node } = this.#options;
    if (path !== undefined) {
      this.#last = new LastConfiguration({ path, sink, log: log("configuration") });
      await this.#last.load();
    }
    this.#client = new AdsClient({
      channel: this.#channel,
      node: discoveryNode(node),
      sink: this.#last ?? sink,
      registry,
    });
    this.#client.start();
  }

  async close(): Promise<void> {
    this.#client?.close();
    await this.#last?.close();
    for (const channel of this.#channels) channel.close();
  }
}

function channelTo(at: HostPort, { roots, token, node }: ControlPlaneOptions): GrpcChannel {
  return new GrpcChannel({ ...at, roots, token, clusterId: node.clusterId });
}

/** As Istio's proxies name themselves (protocols.md §1.5). */
function discoveryNode(node: ProxyNode) {
  const { kind, instanceIp, podName, namespace, nodeName, clusterId, gateway } = node;
  return {
    id: `${kind}~${instanceIp}~${podName}.${namespace}~${namespace}.svc.cluster.local`,
    metadata: {
      NAME: podName,
      NAMESPACE: namespace,
      INSTANCE_IPS: instanceIp,
      NODE_NAME: nodeName,
      CLUSTER_ID: clusterId,
      ...(gateway !== undefined && { GATEWAY: gateway }),
    },
  };
}
