/**
 * The options of all commands, in one table, so that one thing has one name and one meaning
 * everywhere. `program.ts` says which command takes which.
 */
import { InvalidArgumentError, Option } from "commander";
import type { WorkloadOverride } from "../local/echoes.ts";
import type { HostPort } from "../net/listeners.ts";

export const OPTIONS = {
  file: () =>
    new Option(
      "-f, --file <path...>",
      "file or folder of manifests (repeatable; folders are read recursively)",
    ).makeOptionMandatory(),
  kubernetes: () =>
    new Option(
      "--kubernetes",
      "read a cluster's objects instead of files: in a Pod its own cluster's, else the kubeconfig's",
    ),
  cluster: () =>
    new Option("--kubernetes", "ask the control planes of the kubeconfig's cluster, in their Pods"),
  monitoringAddress: () =>
    new Option(
      "--monitoring-address <host:port...>",
      "ask the control planes there (their --metrics-address; repeatable)",
    ).argParser(collectHostPorts),
  namespace: () => new Option("-n, --namespace <name>", "the namespace that is meant"),
  waitFor: () =>
    new Option("--for <state>", "what is waited for").choices(["enforced"]).default("enforced"),
  waitTimeout: () =>
    new Option("--timeout <duration>", "how long").argParser(parseDuration).default(60_000, "60s"),
  kubeconfig: () =>
    new Option("--kubeconfig <file>", "the kubeconfig to find the cluster by; as --kubernetes"),
  context: () => new Option("--context <name>", "the kubeconfig's context to use; as --kubernetes"),
  state: () =>
    new Option(
      "--state <dir>",
      "folder of the mesh's state: its CA and how to reach it while it runs",
    ).env("WAYSTONE_STATE"),
  output: () =>
    new Option("-o, --output <format>", "output format").choices(["text", "json"]).default("text"),
  workload: () =>
    new Option(
      "--workload <name[:port]=host:port>",
      "a real process plays this workload, or one port of it, instead of the built-in echo",
    ).argParser(collectWorkloads),
  adminPort: () =>
    port("--admin-port <port>", "admin port on 127.0.0.1; 0 takes a free one", 15000),
  metricsPort: () => port("--metrics-port <port>", "metrics port; 0 takes a free one", 15020),
  readinessPort: () => port("--readiness-port <port>", "readiness port; 0 takes a free one", 15021),
  socksPort: () => port("--socks-port <port>", "SOCKS5 port; 0 takes a free one", 1080),
  demo: () =>
    new Option(
      "--demo",
      "send the requests of the requests.txt beside the manifests, and show what decided",
    ),
  drainTimeout: () =>
    new Option("--drain-timeout <duration>", "how long a shutdown waits for what is in progress")
      .argParser(parseDuration)
      .default(10_000, "10s"),
  from: () =>
    new Option(
      "--from <workload>",
      "the workload that asks: name or namespace/name",
    ).makeOptionMandatory(),
  client: () =>
    new Option("--from <client>", "who asks: namespace/serviceaccount, a workload, or an address"),
  target: () => new Option("--to <target>", "whom: service[.namespace][:port], or address:port"),
  method: () => new Option("-X, --method <method>", "the request's method").default("GET"),
  path: () => new Option("--path <path>", "the request's path, with its query").default("/"),
  tcp: () => new Option("--tcp", "a connection that is not HTTP"),
  sni: () => new Option("--sni <name>", "a TLS connection, which asks for the server of that name"),
  jwt: () => new Option("--jwt <file>", "a token, sent as 'Authorization: Bearer'"),
  answer: () =>
    new Option(
      "--answer <provider=allow|deny>",
      "what an authorizer of CUSTOM policies says (repeatable); one that is not named allows",
    ).argParser(collectAnswers),
  draw: () =>
    new Option("--draw <number>", "where weighted choices fall, from 0 to 1")
      .argParser(parseShare)
      .default(0),
  requests: () =>
    new Option(
      "--requests <file>",
      "recorded requests, as 'waystone decisions -o json' prints them; else the running mesh's",
    ),
  as: () =>
    new Option(
      "--as <workload>",
      "the workload to speak as: name or namespace/name",
    ).makeOptionMandatory(),
  header: () =>
    new Option("-H, --header <name:value>", "a request header (repeatable)").argParser(
      collectHeaders,
    ),
  data: () =>
    new Option(
      "-d, --data <body>",
      "the request's body; the method becomes POST when none is given",
    ),
  node: () => new Option("--node <name>", "the node that the proxy runs on").env("NODE_NAME"),
  pod: () => new Option("--pod <name>", "the Pod that the token is for"),
  tokenTtl: () =>
    new Option("--ttl <duration>", "how long the token is good")
      .argParser(parseDuration)
      .default(12 * 3_600_000, "12h"),
  serveAddress: () =>
    new Option("--address <host:port>", "where proxies connect")
      .argParser(parseHostPort)
      .default({ host: "0.0.0.0", port: 15012 }, "0.0.0.0:15012"),
  serverName: () =>
    new Option(
      "--server-name <name...>",
      "a name or address by which proxies know it, beside istiod's (repeatable)",
    ),
  trustedNodeAccounts: () =>
    new Option(
      "--trusted-node-accounts <ns/sa,...>",
      "accounts that may obtain certificates for the workloads of their node",
    )
      .env("CA_TRUSTED_NODE_ACCOUNTS")
      .argParser(parseAccounts)
      .default(["istio-system/ztunnel"], "istio-system/ztunnel"),
  verbose: () => new Option("-v, --verbose", "more talk, and stacks with errors"),
} satisfies Record<string, () => Option>;

function port(flags: string, description: string, usual: number): Option {
  // No default for commander: a usual port that is taken is replaced, one that is asked for is not.
  return new Option(flags, `${description} (usually ${usual})`).argParser(parsePort);
}

export function parsePort(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= 65535) return value;
  throw new InvalidArgumentError("A port is a number from 0 to 65535.");
}

/** `HOST:PORT`; an IPv6 host stands in brackets. `localhost` is 127.0.0.1, as it is for probes. */
export function parseHostPort(text: string): HostPort {
  const found = /^(?:\[([^\]]+)\]|([^:[\]/\s]+)):(\d+)$/.exec(text);
  if (!found) throw new InvalidArgumentError("Write it as HOST:PORT.");
  const host = (found[1] ?? found[2])!;
  return { host: host === "localhost" ? "127.0.0.1" : host, port: parsePort(found[3]!) };
}

function parseAccounts(text: string): readonly string[] {
  const accounts = text.split(",").filter((account) => account !== "");
  if (accounts.every((account) => /^[^/]+\/[^/]+$/.test(account))) return accounts;
  throw new InvalidArgumentError("Write them as NAMESPACE/SERVICEACCOUNT, with commas between.");
}

/** Durations in Go's form: `90s`, `1m30s`, `500ms`. */
export function parseDuration(text: string): number {
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    throw new InvalidArgumentError("A duration looks like 90s, 1m30s or 500ms.");
  }
  let total = 0;
  for (const [, value, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(value) * units[unit!]!;
  }
  return total;
}

/** `NAME=HOST:PORT`, `NAME:PORT=HOST:PORT`; an IPv6 host stands in brackets. */
export function parseWorkload(text: string): WorkloadOverride {
  const found = /^([^=:]+)(?::(\d+))?=(?:\[([^\]]+)\]|([^:[\]]+)):(\d+)$/.exec(text);
  if (!found) throw new InvalidArgumentError("Write it as NAME=HOST:PORT.");
  const [, workload = "", only, host6, host4, port = ""] = found;
  const override = { workload, host: (host6 ?? host4)!, port: parsePort(port) };
  return only === undefined ? override : { ...override, workloadPort: parsePort(only) };
}

function collectWorkloads(
  text: string,
  previous: readonly WorkloadOverride[] | undefined,
): readonly WorkloadOverride[] {
  return [...(previous ?? []), parseWorkload(text)];
}

/** `Name: value`, as curl's -H has it. */
export function parseHeader(text: string): readonly [string, string] {
  const found = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*(.*)$/.exec(text);
  if (!found) throw new InvalidArgumentError("Write it as NAME: VALUE.");
  return [found[1]!, found[2]!];
}

type Headers = readonly (readonly [string, string])[];

function collectAnswers(
  text: string,
  before: readonly (readonly [string, boolean])[] = [],
): readonly (readonly [string, boolean])[] {
  const [, name, answer] = /^(.+)=(allow|deny)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError("Write PROVIDER=allow or PROVIDER=deny.");
  return [...before, [name, answer === "allow"]];
}

function parseShare(text: string): number {
  const share = Number(text);
  if (text !== "" && share >= 0 && share < 1) return share;
  throw new InvalidArgumentError("Expected a number from 0 up to, but not including, 1.");
}

function collectHostPorts(text: string, before: readonly HostPort[] = []): readonly HostPort[] {
  return [...before, parseHostPort(text)];
}

function collectHeaders(text: string, previous: Headers | undefined): Headers {
  return [...(previous ?? []), parseHeader(text)];
}
