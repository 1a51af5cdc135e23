/** RequestAuthentications as Envoy's JWT filter, as istiod writes them; a listener for each set. */
import type { JwtRule } from "../../src/model/request-authentication.ts";
import { freePorts } from "../support/free-ports.ts";
import { jwtFilter } from "./envoy-jwt.ts";
import type { Json } from "./envoy-policies.ts";
import { runEnvoy } from "./envoy-process.ts";

const TYPE = "type.googleapis.com/envoy.extensions";

export interface Authenticators {
  readonly ports: readonly number[];
  end(): void;
}

export async function startAuthenticators(
  binary: string,
  sets: readonly (readonly JwtRule[])[],
  backendPort: number,
): Promise<Authenticators> {
  const ports = await freePorts(sets.length);
  const address = (port_value: number) => ({
    socket_address: { address: "127.0.0.1", port_value },
  });
  const endpoint = { endpoint: { address: address(backendPort) } };
  const end = await runEnvoy(binary, (admin) => ({
    admin,
    static_resources: {
      listeners: sets.map((rules, i) => ({
        name: `set ${i}`,
        address: address(ports[i]!),
        filter_chains: [{ filters: [{ name: "hcm", typed_config: connectionManager(rules) }] }],
      })),
      clusters: [
        {
          name: "backend",
          type: "STATIC",
          load_assignment: { cluster_name: "backend", endpoints: [{ lb_endpoints: [endpoint] }] },
        },
      ],
    },
  }));
  return { ports, end };
}

function connectionManager(rules: readonly JwtRule[]): Json {
  const router = { "@type": `${TYPE}.filters.http.router.v3.Router` };
  const route = { match: { prefix: "/" }, route: { cluster: "backend" } };
  return {
    "@type": `${TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "set",
    server_name: "istio-envoy",
    normalize_path: true,
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes: [route] }] },
    http_filters: [
      { name: "envoy.filters.http.jwt_authn", typed_config: jwtFilter(rules) },
      { name: "envoy.filters.http.router", typed_config: router },
    ],
  };
}
