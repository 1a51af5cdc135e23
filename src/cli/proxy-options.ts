/**
 * The options of a proxy that runs as a process of its own, and what they come to. Their twins in
 * the environment are named as Istio names them, so that its manifests fit.
 */
import { InvalidArgumentError, Option } from "commander";
import type { HostPort } from "../net/listeners.ts";
import { parseDuration, parseHostPort, parsePort } from "./options.ts";

/** As commander hands them over. */
export interface ProxyOptions {
  readonly xdsAddress: HostPort;
  readonly istiod?: HostPort;
  readonly controlPlaneIdentity?: string;
  readonly caAddress?: HostPort;
  readonly roots: string;
  readonly token: string;
  readonly podName?: string;
  readonly podNamespace?: string;
  readonly instanceIp?: string;
  readonly clusterId: string;
  readonly certificateTtl: number;
  readonly lastConfiguration?: string;
  readonly adminAddress?: HostPort;
  readonly metricsAddress?: HostPort;
  readonly readinessAddress?: HostPort;
  readonly drainDelay: number;
  readonly drainTimeout: number;
  readonly workers: number;
}

const CONTROL_PLANE_PORT = 15012;

/** In the order of `--help`. */
export const PROXY_OPTIONS = {
  xdsAddress: () =>
    new Option("--xds-address <host:port>", "where configuration comes from")
      .env("XDS_ADDRESS")
      .argParser(parseControlPlane)
      .default({ host: "istiod.istio-system.svc", port: CONTROL_PLANE_PORT }, "istiod's"),
  caAddress: () =>
    new Option("--ca-address <host:port>", "where certificates come from (default: the same)")
      .env("CA_ADDRESS")
      .argParser(parseControlPlane),
  roots: () =>
    new Option("--roots <file>", "root certificates of the control plane: a file, or the PEM text")
      .env("CA_ROOT_CA")
      .default("./var/run/secrets/istio/root-cert.pem"),
  token: () =>
    new Option("--token <file>", "the token that says who this proxy is: a file, or the token")
      .env("AUTH_TOKEN")
      .default("./var/run/secrets/tokens/istio-token"),
  podName: () => new Option("--pod-name <name>", "the Pod that this proxy runs in").env("POD_NAME"),
  podNamespace: () =>
    new Option("--pod-namespace <namespace>", "the Pod's namespace").env("POD_NAMESPACE"),
  instanceIp: () => new Option("--instance-ip <ip>", "the Pod's address").env("INSTANCE_IP"),
  clusterId: () =>
    new Option("--cluster-id <name>", "the cluster's name").env("CLUSTER_ID").default("Kubernetes"),
  certificateTtl: () =>
    new Option("--certificate-ttl <duration>", "the life of certificates that are asked for")
      .env("SECRET_TTL")
      .argParser(parseSeconds)
      .default(24 * 3_600_000, "24h"),
  lastConfiguration: () =>
    new Option(
      "--last-configuration <file>",
      "keep the last good configuration there, for a start while the control plane is away",
    ).env("WAYSTONE_LAST_CONFIGURATION"),
  adminAddress: () => address("--admin-address <host:port>", "admin port", "ADMIN_ADDR"),
  metricsAddress: () => address("--metrics-address <host:port>", "metrics port", "STATS_ADDR"),
  readinessAddress: () =>
    address("--readiness-address <host:port>", "readiness port", "READINESS_ADDR"),
  drainDelay: () =>
    new Option(
      "--drain-delay <duration>",
      "how long a process that is told to end still takes what comes",
    )
      .env("TERMINATION_DRAIN_DURATION_SECONDS")
      .argParser(parseSeconds)
      .default(5_000, "5s"),
  drainTimeout: () =>
    new Option(
      "--drain-timeout <duration>",
      "how long a shutdown takes at most: 5 s less than TERMINATION_GRACE_PERIOD_SECONDS",
    )
      .argParser(parseSeconds)
      .default(...drainTimeout(process.env.TERMINATION_GRACE_PERIOD_SECONDS)),
  workers: () =>
    new Option(
      "--workers <number>",
      "processes that carry the traffic, one for each core that it may use; 0: this one does",
    )
      .argParser(parseWorkers)
      .default(0),
  socksAddress: () =>
    new Option("--socks-address <host:port>", "a SOCKS5 port by which clients enter").argParser(
      parseHostPort,
    ),
  socksPasswordFile: () =>
    new Option("--socks-password-file <file>", "its password; the user name is the workload"),
  dnsAddress: () =>
    new Option("--dns-address <host:port>", "answer DNS there: the mesh's names, and all others")
      .env("DNS_PROXY_ADDR")
      .argParser(parseHostPort),
  originalSource: () =>
    new Option(
      "--original-source <boolean>",
      "dial applications from their client's own address where this machine has it",
    )
      .env("ENABLE_ORIG_SRC")
      .argParser(parseBoolean)
      .default(true),
  capture: () =>
    new Option(
      "--capture <listen=destination>",
      "take connections to this HOST:PORT as captured ones to that (repeatable)",
    ).argParser(collectCaptures),
  tunnelAddress: () =>
    new Option(
      "--address <host:port>",
      "where tunnels come in (default: port 15008 of --instance-ip, or of every address)",
    ).argParser(parseHostPort),
  istiod: () =>
    new Option(
      "--istiod <host:port>",
      "beside istiod: workloads are as istiod says that they are",
    ).argParser(parseControlPlane),
  controlPlaneIdentity: () =>
    new Option(
      "--control-plane-identity <spiffe id>",
      "who the control plane must be, where its certificate is a workload's and has no host name",
    ),
  serviceAccount: () =>
    new Option(
      "--service-account <name>",
      "the account it runs as (default: the Gateway's name)",
    ).env("SERVICE_ACCOUNT"),
} satisfies Record<string, () => Option>;

/** Those that every proxy has. */
export function proxyOptions(): readonly Option[] {
  return [
    PROXY_OPTIONS.xdsAddress(),
    PROXY_OPTIONS.caAddress(),
    PROXY_OPTIONS.roots(),
    PROXY_OPTIONS.token(),
    PROXY_OPTIONS.podName(),
    PROXY_OPTIONS.podNamespace(),
    PROXY_OPTIONS.instanceIp(),
    PROXY_OPTIONS.clusterId(),
    PROXY_OPTIONS.certificateTtl(),
    PROXY_OPTIONS.lastConfiguration(),
    PROXY_OPTIONS.adminAddress(),
    PROXY_OPTIONS.metricsAddress(),
    PROXY_OPTIONS.readinessAddress(),
    PROXY_OPTIONS.drainDelay(),
    PROXY_OPTIONS.drainTimeout(),
    PROXY_OPTIONS.workers(),
  ];
}

/** Kubernetes kills at the end of the grace period: what is left is cut somewhat before. */
function drainTimeout(graceSeconds = "30"): [valueMs: number, text: string] {
  const grace = /^\d+$/.test(graceSeconds) ? Number(graceSeconds) : 30;
  const seconds = Math.max(grace - 5, grace / 2);
  return [seconds * 1000, `${seconds}s`];
}

function address(flags: string, description: string, variable: string): Option {
  return new Option(flags, description).env(variable).argParser(parseHostPort);
}

/** The three standard ports of a process that has them elsewhere than a proxy. */
export function hostOptions(admin: string, metrics: string, readiness: string): readonly Option[] {
  const at = (option: Option, usual: string) => option.default(parseHostPort(usual), usual);
  return [
    at(PROXY_OPTIONS.adminAddress(), admin),
    at(PROXY_OPTIONS.metricsAddress(), metrics),
    at(PROXY_OPTIONS.readinessAddress(), readiness),
  ];
}

/** `host:port`, `https://host:port`, or either without its port (15012). */
export function parseControlPlane(text: string): HostPort {
  if (/^http:/i.test(text)) {
    throw new InvalidArgumentError("The control plane is spoken to over TLS: https, or no scheme.");
  }
  const found = /^(?:https:\/\/)?(?:\[([^\]]+)\]|([^:[\]/\s]+))(?::(\d+))?\/?$/i.exec(text);
  if (!found) throw new InvalidArgumentError("Write it as HOST:PORT.");
  const port = found[3] === undefined ? CONTROL_PLANE_PORT : parsePort(found[3]);
  return { host: (found[1] ?? found[2])!, port };
}

/** A duration, or a number of seconds as Istio's variables have it. */
export function parseSeconds(text: string): number {
  return /^\d+$/.test(text) ? Number(text) * 1000 : parseDuration(text);
}

const WORKERS_MAX = 256;

function parseWorkers(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= WORKERS_MAX) return value;
  throw new InvalidArgumentError(`A number of workers is from 0 to ${WORKERS_MAX}.`);
}

type Capture = ReturnType<typeof parseCapture>;

function collectCaptures(
  text: string,
  previous: readonly Capture[] | undefined,
): readonly Capture[] {
  return [...(previous ?? []), parseCapture(text)];
}

/** `LISTEN=DESTINATION`, both HOST:PORT. */
export function parseCapture(text: string): { at: HostPort; to: HostPort } {
  const [at = "", to = "", rest] = text.split("=");
  if (rest !== undefined || to === "") {
    throw new InvalidArgumentError("Write it as LISTEN-HOST:PORT=DESTINATION-HOST:PORT.");
  }
  return { at: parseHostPort(at), to: parseHostPort(to) };
}

function parseBoolean(text: string): boolean {
  if (text === "true" || text === "false") return text === "true";
  throw new InvalidArgumentError("Write true or false.");
}
