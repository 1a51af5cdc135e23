/**
 * A proxy's way to its control plane: configuration by delta ADS, certificates by the CA, both over
 * TLS under the mesh's roots with the proxy's token.
 */
import { CaClient } from "../agent/ca-client.ts";
import type { CertificateAuthority } from "../agent/certificates.ts";
import { GrpcChannel } from "../agent/grpc-channel.ts";
import { MeshState } from "../agent/mesh-state.ts";
import type { HostPort } from "../net/listeners.ts";
import type { ProxyState } from "./program.ts";

/** Who the proxy says it is to the control plane; what counts is its token. */
export interface ProxyNode {
  readonly kind: "ztunnel" | "waypoint";
  readonly instanceIp: string;
  readonly podName: string;
  readonly namespace: string;
  readonly nodeName: string;
  readonly clusterId: string;
}

export interface ControlPlaneOptions {
  readonly xds: HostPort;
  readonly ca: HostPort;
  /** PEM; read again for each connection. */
  readonly roots: () => Promise<string>;
  /** Read again for each stream and call. */
  readonly token: () => Promise<string>;
  readonly node: ProxyNode;
}

export interface ControlPlaneLink {
  readonly authority: CertificateAuthority;
  /** What the control plane has sent. */
  readonly state: ProxyState;
  /** Feeds the state from now on, again after each loss of the connection. */
  start(): void;
  close(): void;
}

/** Opens nothing yet: connections are made when they are needed. */
export function connectControlPlane(options: ControlPlaneOptions): ControlPlaneLink {
  const { xds: _, ca, roots, token, node } = options;
  const { clusterId } = node;
  const channel = new GrpcChannel({ ...ca, roots, token, clusterId });
  return {
    authority: new CaClient({ channel, impersonates: node.kind === "ztunnel" }),
    state: new MeshState(),
    start() {},
    close() {},
  };
}
