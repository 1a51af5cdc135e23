/**
 * Reaching an endpoint: through its ztunnel by HBONE, or by plain TCP when it is not in the mesh.
 *
 * The destination's identity is verified exactly (the workload's own, or the service's subject
 * alternative names), so an address that changed hands does not get someone else's traffic.
 */
import type { Failure } from "../kit/failure.ts";
import { workloadIdentity } from "../model/workload.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import { formatAuthority } from "../net/hbone/authority.ts";
import type { TunnelPool } from "../net/hbone/tunnel-pool.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import { connectTcp, TcpStream } from "../net/tcp-stream.ts";
import type { TlsIdentity } from "../net/tls.ts";
import type { UpstreamEndpoint } from "./cluster.ts";

export interface DialListener {
  onDialed(stream: ByteStream): void;
  onDialFailed(failure: Failure): void;
}

export interface Dial {
  abort(): void;
}

export interface DialerOptions {
  readonly pool: TunnelPool;
  /** The waypoint's own certificate, as it is now. */
  readonly identity: () => TlsIdentity | undefined;
  readonly spiffeId: string;
  /** The address to dial from; undefined leaves it to the system. */
  readonly sourceAddress: string | undefined;
  /** Where the ztunnel of an address accepts tunnels. */
  readonly tunnelAddress: (address: string) => { host: string; port: number };
  readonly connectTimeoutMs: () => number;
}

export class Dialer {
  readonly #options: DialerOptions;

  constructor(options: DialerOptions) {
    this.#options = options;
  }

  /** Opens a stream to the endpoint's target port. Exactly one callback, unless aborted. */
  dial(endpoint: UpstreamEndpoint, headers: HeaderList, listener: DialListener): Dial {
    return endpoint.workload.tunnelProtocol === "HBONE"
      ? this.#dialTunnel(endpoint, headers, listener)
      : this.#dialPlain(endpoint, listener);
  }

  #dialTunnel(endpoint: UpstreamEndpoint, headers: HeaderList, listener: DialListener): Dial {
    const { pool, identity, spiffeId, sourceAddress, tunnelAddress } = this.#options;
    const { host, port } = tunnelAddress(endpoint.address);
    const sans = endpoint.cluster.service?.subjectAltNames ?? [];
    const expected = [workloadIdentity(endpoint.workload), ...sans];
    const target = { host, port, expected, identity, sourceAddress, poolKey: spiffeId };
    const authority = formatAuthority(endpoint.address, endpoint.targetPort);
    return pool.open(
      target,
      { authority, headers },
      {
        onOpen: (stream) => listener.onDialed(stream),
        onRefused: (failure) => listener.onDialFailed(failure),
      },
    );
  }

  #dialPlain(endpoint: UpstreamEndpoint, listener: DialListener): Dial {
    const { sourceAddress, connectTimeoutMs } = this.#options;
    const options = {
      host: endpoint.address,
      port: endpoint.targetPort,
      timeoutMs: connectTimeoutMs(),
      ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }),
    };
    return connectTcp(options, (result) => {
      if (result instanceof Error) listener.onDialFailed(result);
      else listener.onDialed(new TcpStream(result));
    });
  }
}
