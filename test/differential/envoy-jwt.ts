/** Envoy's JWT filter, the way istiod writes it for RequestAuthentications. */
import type { JwtRule } from "../../src/model/request-authentication.ts";
import type { Json } from "./envoy-policies.ts";

const TYPE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

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
    "@type": TYPE,
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
