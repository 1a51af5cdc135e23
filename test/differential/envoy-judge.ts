/**
 * Envoy as a judge: a listener for each port, with TLS or without, that answers 200 or what its
 * JWT and RBAC filters say. The header `x-set` of a request names the policies it is judged by.
 */
import http from "node:http";
import https from "node:https";
import type { AuthorizationPolicy, PolicyAction } from "../../src/model/rule.ts";
import type { PathNormalization } from "../../src/net/path.ts";
import { jwtFilter } from "./envoy-jwt.ts";
import { type Json, rbacRules, type Target } from "./envoy-policies.ts";
import { runEnvoy } from "./envoy-process.ts";
import { JWT_RULES } from "./judged-tokens.ts";

export interface Certified {
  readonly certificatePem: string;
  readonly keyPem: string;
}

export interface JudgeParts {
  readonly sets: readonly (readonly AuthorizationPolicy[])[];
  readonly target: Target;
  readonly ports: ReadonlyMap<number, PathNormalization>;
  readonly rootPem: string;
  readonly server: Certified;
}

export function startJudge(binary: string, parts: JudgeParts): Promise<() => void> {
  return runEnvoy(binary, (admin) => ({
    admin,
    static_resources: {
      listeners: [...parts.ports].map(([port, mode]) => listener(port, mode, parts)),
    },
  }));
}

const TYPE = "type.googleapis.com/envoy";
const HTTP_FILTERS = `${TYPE}.extensions.filters.http`;

function listener(port: number, mode: PathNormalization, parts: JudgeParts): Json {
  const manager = { name: "hcm", typed_config: connectionManager(mode, parts) };
  const inspector = `${TYPE}.extensions.filters.listener.tls_inspector.v3.TlsInspector`;
  return {
    name: `port ${port}`,
    address: { socket_address: { address: "0.0.0.0", port_value: port } },
    listener_filters: [{ name: "tls", typed_config: { "@type": inspector } }],
    filter_chains: [
      {
        filter_chain_match: { transport_protocol: "tls" },
        transport_socket: { name: "tls", typed_config: downstreamTls(parts) },
        filters: [manager],
      },
      { filters: [manager] },
    ],
  };
}

function downstreamTls({ rootPem, server }: JudgeParts): Json {
  const inline = (inline_string: string) => ({ inline_string });
  return {
    "@type": `${TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
    require_client_certificate: false,
    common_tls_context: {
      tls_certificates: [
        { certificate_chain: inline(server.certificatePem), private_key: inline(server.keyPem) },
      ],
      validation_context: { trusted_ca: inline(rootPem) },
    },
  };
}

const NORMALIZATIONS: Record<PathNormalization, Json> = {
  NONE: {},
  BASE: { normalize_path: true },
  MERGE_SLASHES: { normalize_path: true, merge_slashes: true },
  DECODE_AND_MERGE_SLASHES: {
    normalize_path: true,
    merge_slashes: true,
    path_with_escaped_slashes_action: "UNESCAPE_AND_FORWARD",
  },
};

/** The order of istiod's filters; what a set has no policies for is switched off for it. */
const RBAC_FILTERS: readonly (readonly [PolicyAction, "ALLOW" | "DENY" | "LOG"])[] = [
  ["CUSTOM", "DENY"],
  ["AUDIT", "LOG"],
  ["DENY", "DENY"],
  ["ALLOW", "ALLOW"],
];

function connectionManager(mode: PathNormalization, { sets, target }: JudgeParts): Json {
  return {
    "@type": `${TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "judge",
    use_remote_address: false,
    ...NORMALIZATIONS[mode],
    route_config: {
      name: "sets",
      virtual_hosts: [
        { name: "all", domains: ["*"], routes: sets.map((set, i) => routeOf(set, i, target)) },
      ],
    },
    http_filters: [
      { name: "jwt", typed_config: jwtFilter(JWT_RULES) },
      ...RBAC_FILTERS.map(([name]) => ({
        name: `rbac ${name}`,
        typed_config: { "@type": `${HTTP_FILTERS}.rbac.v3.RBAC` },
      })),
      { name: "router", typed_config: { "@type": `${HTTP_FILTERS}.router.v3.Router` } },
    ],
  };
}

function routeOf(set: readonly AuthorizationPolicy[], index: number, target: Target): Json {
  const perFilter = RBAC_FILTERS.map(([policyAction, action]) => {
    const own = set.filter((policy) => policy.action === policyAction && !policy.isDryRun);
    const rules = rbacRules(own, action, target);
    const config = {
      "@type": `${HTTP_FILTERS}.rbac.v3.RBACPerRoute`,
      ...(rules && { rbac: { rules } }),
    };
    return [`rbac ${policyAction}`, config];
  });
  return {
    match: { prefix: "/", headers: [{ name: "x-set", string_match: { exact: String(index) } }] },
    direct_response: { status: 200 },
    typed_per_filter_config: Object.fromEntries(perFilter),
  };
}

export interface Sent {
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  /** undefined: without TLS. */
  readonly tls: { readonly client: Certified | undefined; readonly serverName: string } | undefined;
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
}

const AGENT_OPTIONS = {
  keepAlive: true,
  maxSockets: 2,
  maxTotalSockets: 4_000,
  maxFreeSockets: 4_000,
};

/** Sends, and gives the status. */
export class JudgeClient {
  readonly #plain = new http.Agent(AGENT_OPTIONS);
  readonly #tls = new https.Agent(AGENT_OPTIONS);

  async status(sent: Sent): Promise<number> {
    const { source, destination, port, tls, method, target, headers } = sent;
    const where = { host: destination, port, localAddress: source, method, path: target };
    const options = { ...where, headers: headers as never, setHost: false };
    const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const request = tls
        ? https.request({ ...options, ...tlsOptions(tls), agent: this.#tls })
        : http.request({ ...options, agent: this.#plain });
      request.on("response", resolve);
      request.on("error", reject);
      request.setTimeout(20_000, () => request.destroy(new Error("no answer")));
      request.end();
    });
    response.resume();
    await new Promise((resolve) => response.on("close", resolve));
    return response.statusCode!;
  }

  end(): void {
    this.#plain.destroy();
    this.#tls.destroy();
  }
}

function tlsOptions({ client, serverName }: NonNullable<Sent["tls"]>): https.RequestOptions {
  // Whom the client talks to is not what is asked here.
  const options = { servername: serverName, rejectUnauthorized: false };
  return client ? { ...options, cert: client.certificatePem, key: client.keyPem } : options;
}
