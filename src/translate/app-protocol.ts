/**
 * What is spoken on a port: `appProtocol` first, then the port's name up to its first "-", then the
 * few port numbers that are known to be server-first. `UNKNOWN`: look at the first bytes.
 */
import type { AppProtocol } from "../model/service.ts";

const BY_NAME: Readonly<Record<string, AppProtocol>> = {
  http: "HTTP11",
  "kubernetes.io/ws": "HTTP11",
  "grpc-web": "HTTP11",
  http2: "HTTP2",
  "kubernetes.io/h2c": "HTTP2",
  grpc: "GRPC",
  https: "TLS",
  tls: "TLS",
  "kubernetes.io/wss": "TLS",
  tcp: "TCP",
  mongo: "TCP",
  mysql: "TCP",
  redis: "TCP",
};

/**
 * SMTP, DNS, MySQL, MongoDB: the server speaks first there, so waiting for the client's bytes
 * hangs.
 */
const SERVER_FIRST_PORTS: ReadonlySet<number> = new Set([25, 53, 3306, 27017]);

export function appProtocolOf(
  port: number,
  name: string | undefined,
  appProtocol: string | undefined,
): AppProtocol {
  if (appProtocol !== undefined) return BY_NAME[appProtocol.toLowerCase()] ?? "UNKNOWN";
  const lower = (name ?? "").toLowerCase();
  const byName = lower.startsWith("grpc-web") ? BY_NAME["grpc-web"] : BY_NAME[prefixOf(lower)];
  if (byName !== undefined) return byName;
  return SERVER_FIRST_PORTS.has(port) ? "TCP" : "UNKNOWN";
}

/** The `protocol` of a ServiceEntry's port, which has no name to guess from. */
export function entryProtocolOf(protocol: string | undefined): AppProtocol {
  return BY_NAME[(protocol ?? "").toLowerCase()] ?? "UNKNOWN";
}

function prefixOf(name: string): string {
  const dash = name.indexOf("-");
  return dash < 0 ? name : name.slice(0, dash);
}
