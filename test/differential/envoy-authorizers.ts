/** The filters of a workload's policies, in their order: CUSTOM, AUDIT, DENY, ALLOW. */
import type { AuthorizationProvider } from "../../src/model/authorization-provider.ts";
import type { AuthorizationPolicy, PolicyAction } from "../../src/model/rule.ts";
import { type Json, rbacRules, type Target } from "./envoy-policies.ts";

const TYPE = "type.googleapis.com/envoy.extensions.filters";

export function authorizationFilters(
  policies: readonly AuthorizationPolicy[],
  providers: readonly AuthorizationProvider[],
  target: Target,
): Json[] {
  const of = (action: PolicyAction) => policies.filter((policy) => policy.action === action);
  return [
    ...customFilters(of("CUSTOM"), providers, target),
    ...enforcing(of("AUDIT"), "LOG", target),
    ...enforcing(of("DENY"), "DENY", target),
    ...enforcing(of("ALLOW"), "ALLOW", target),
  ];
}

function enforcing(
  policies: readonly AuthorizationPolicy[],
  action: "ALLOW" | "DENY" | "LOG",
  target: Target,
): Json[] {
  if (policies.length === 0) return [];
  const rules = rbacRules(
    policies.filter(({ isDryRun }) => !isDryRun),
    action,
    target,
  );
  const shadowRules = rbacRules(
    policies.filter(({ isDryRun }) => isDryRun),
    action,
    target,
  );
  const isDeny = shadowRules !== undefined && action === "DENY";
  const shadowRulesStatPrefix = `istio_dry_run_${isDeny ? "deny" : "allow"}_`;
  return [
    rbac(
      { ...(rules && { rules }), ...(shadowRules && { shadowRules }), shadowRulesStatPrefix },
      target,
    ),
  ];
}

function rbac(parts: Json, { isTcp }: Target): Json {
  const layer = isTcp ? "network" : "http";
  return {
    name: `envoy.filters.${layer}.rbac`,
    typedConfig: {
      "@type": `${TYPE}.${layer}.rbac.v3.RBAC`,
      ...parts,
      ...(isTcp && { statPrefix: "tcp." }),
    },
  };
}

function customFilters(
  policies: readonly AuthorizationPolicy[],
  providers: readonly AuthorizationProvider[],
  target: Target,
): Json[] {
  const names = [...new Set(policies.map(({ provider }) => provider!.name))].sort();
  return names.flatMap((name) => {
    const own = policies.filter(({ provider }) => provider!.name === name);
    const rules = rbacRules(own, "DENY", target);
    if (own[0]!.provider!.service === undefined) return [rbac({ rules }, target)];
    const provider = providers.find((one) => one.name === name)!;
    if (target.isTcp && provider.protocol === "HTTP") return [];
    const shadow = { shadowRules: rules, shadowRulesStatPrefix: "istio_ext_authz_" };
    return [rbac(shadow, target), asking(provider, target)];
  });
}

function asking(provider: AuthorizationProvider, target: Target): Json {
  const layer = target.isTcp ? "network" : "http";
  return {
    name: `envoy.filters.${layer}.ext_authz`,
    typedConfig: {
      "@type": `${TYPE}.${layer}.ext_authz.v3.ExtAuthz`,
      ...(provider.isFailOpen && { failureModeAllow: true }),
      filterEnabledMetadata: {
        filter: `envoy.filters.${layer}.rbac`,
        path: [{ key: "istio_ext_authz_shadow_effective_policy_id" }],
        value: { stringMatch: { prefix: `istio-ext-authz-${provider.name}` } },
      },
      ...(provider.protocol === "GRPC"
        ? { grpcService: grpcService(provider) }
        : httpService(provider)),
      ...(target.isTcp
        ? { statPrefix: "tcp." }
        : { statusOnError: { code: STATUS[provider.statusOnError] }, ...bodyShown(provider) }),
      transportApiVersion: "V3",
    },
  };
}

const STATUS: Record<number, string> = { 403: "Forbidden", 503: "ServiceUnavailable" };

function bodyShown({
  bodyBytesMax,
  isPartialBodyShown,
  isBodyPackedAsBytes,
}: AuthorizationProvider) {
  if (bodyBytesMax === 0) return {};
  return {
    withRequestBody: {
      maxRequestBytes: bodyBytesMax,
      ...(isPartialBodyShown && { allowPartialMessage: true }),
      ...(isBodyPackedAsBytes && { packAsBytes: true }),
    },
  };
}

function reached({ service, port, timeoutMs }: AuthorizationProvider) {
  const host = service.split("/").at(-1)!;
  return { host, cluster: `outbound|${port}||${host}`, timeout: `${timeoutMs / 1000}s` };
}

function grpcService(provider: AuthorizationProvider): Json {
  const { host, cluster, timeout } = reached(provider);
  return { envoyGrpc: { authority: host, clusterName: cluster }, timeout };
}

function httpService(provider: AuthorizationProvider): Json {
  const { host, cluster, timeout } = reached(provider);
  const headersToAdd = provider.includeAdditionalHeadersInCheck.map(([key, value]) => ({
    key,
    value,
  }));
  return {
    allowedHeaders: names(provider.includeRequestHeadersInCheck),
    httpService: {
      serverUri: { uri: `http://${host}`, cluster, timeout },
      pathPrefix: provider.pathPrefix,
      authorizationRequest: { headersToAdd },
      authorizationResponse: {
        allowedUpstreamHeaders: names(provider.headersToUpstreamOnAllow),
        allowedClientHeadersOnSuccess: names(provider.headersToDownstreamOnAllow),
        allowedClientHeaders: names(provider.headersToDownstreamOnDeny),
      },
    },
  };
}

function names(all: readonly string[]): Json {
  const patterns = all.map((name) => {
    if (name.startsWith("*")) return { suffix: name.slice(1), ignoreCase: true };
    if (name.endsWith("*")) return { prefix: name.slice(0, -1), ignoreCase: true };
    return { exact: name, ignoreCase: true };
  });
  return { patterns };
}
