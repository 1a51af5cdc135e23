/**
 * Clients that come by SOCKS5: the user name says which workload they are, the password proves that
 * they may. Host names are resolved here, as the workload would see them.
 */
import { lookup } from "node:dns";
import net from "node:net";
import type { Workload } from "../model/workload.ts";
import { acceptSocks5, type Socks5Request } from "../net/socks5.ts";
import type { ZtunnelContext } from "./context.ts";
import { resolveName } from "./names.ts";
import { Outbound } from "./outbound.ts";
import { SocksClient } from "./outbound-client.ts";

const HANDSHAKE_TIMEOUT_MS = 10_000;

export function acceptSocksClient(
  context: ZtunnelContext,
  socket: net.Socket,
  authenticate: (user: string, password: string) => Workload | undefined,
): void {
  acceptSocks5(socket, {
    timeoutMs: HANDSHAKE_TIMEOUT_MS,
    authenticate: (user, password) => authenticate(user, password) !== undefined,
    onRequest: (request) => {
      const source = authenticate(request.user, request.password);
      if (source === undefined) request.refuse("notAllowed");
      else connect(context, request, source);
    },
    onFailed: ({ message: reason }) => {
      if (context.logLimit.allows("SOCKS5")) context.log.info({ reason }, "SOCKS5 client refused");
    },
  });
}

function connect(context: ZtunnelContext, request: Socks5Request, source: Workload): void {
  const { host, port } = request;
  if (net.isIP(host) !== 0) {
    open(context, request, source, host, port);
    return;
  }
  const service = resolveName(context.snapshots.current, source.namespace, host);
  if (service !== undefined) {
    const address = service.addresses[0] ?? headlessAddress(context, service.key);
    if (address === undefined) unreachable(context, request, "the service has no healthy endpoint");
    else open(context, request, source, address, port);
    return;
  }
  // Not a name of the mesh: the rest of the world is passed through.
  lookup(host, (failed, address) => {
    if (failed) unreachable(context, request, failed.message);
    else open(context, request, source, address, port);
  });
}

/** There is nowhere to go, so no connection either: this line is all that tells of it. */
function unreachable(context: ZtunnelContext, request: Socks5Request, reason: string): void {
  const { user, host, port } = request;
  if (context.logLimit.allows("SOCKS5 host name")) {
    context.log.info({ user, host, port, reason }, "SOCKS5 host name leads nowhere");
  }
  request.refuse("hostUnreachable");
}

/** A headless service stands for its endpoints. */
function headlessAddress(context: ZtunnelContext, key: string): string | undefined {
  const endpoints = context.snapshots.current.endpoints.get(key)?.filter((e) => e.isHealthy) ?? [];
  return endpoints[Math.floor(Math.random() * endpoints.length)]?.address;
}

function open(
  context: ZtunnelContext,
  request: Socks5Request,
  source: Workload,
  address: string,
  port: number,
): void {
  const remote = { address: source.addresses[0] ?? "0.0.0.0", port: 0 };
  const client = new SocksClient(request);
  new Outbound(context, { client, source, remote, address, port }).start();
}
