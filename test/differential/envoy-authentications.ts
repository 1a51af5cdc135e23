/** RequestAuthentications as Envoy's JWT filter, the way istiod writes them; a listener for each set. */
import type { JwtRule } from "../../src/model/request-authentication.ts";
import type { Json } from "./envoy-policies.ts";
import { freePorts, runEnvoy } from "./envoy-process.ts";

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

/** A token that is there must be good; with several rules, also where they look in one place. */
export function jwtFilter(rules: readonly JwtRule[]): Json {
  const names = rules.map((_, i) => `origins-${i}`);
  const optional = names.map((provider_name) => ({
    requires_any: { requirements: [{ provider_name }, { allow_missing: {} }] },
  }));
  const requires =
    optional.length === 1
      ? optional[0]!
      : {
          requires_any: {
            requirements: [
              ...names.map((provider_name) => ({ provider_name })),
              { requires_all: { requirements: optional } },
            ],
          },
        };
  return {
    "@type": `${TYPE}.filters.http.jwt_authn.v3.JwtAuthentication`,
    providers: Object.fromEntries(rules.map((rule, i) => [names[i], providerOf(rule)])),
    rules: [{ match: { prefix: "/" }, requires }],
    bypass_cors_preflight: true,
  };
}

function providerOf(rule: JwtRule): Json {
  return {
    issuer: rule.issuer,
    audiences: rule.audiences,
    forward: rule.forwardOriginalToken,
    forward_payload_header: rule.outputPayloadToHeader,
    payload_in_metadata: "payload",
    normalize_payload_in_metadata: { space_delimited_claims: rule.spaceDelimitedClaims },
    claim_to_headers: rule.outputClaimToHeaders.map(({ header, claim }) => ({
      header_name: header,
      claim_name: claim,
    })),
    from_headers: rule.fromHeaders.map(({ name, prefix }) => ({ name, value_prefix: prefix })),
    from_params: rule.fromParams,
    from_cookies: rule.fromCookies,
    local_jwks: { inline_string: rule.jwks },
  };
}
