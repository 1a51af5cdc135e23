/**
 * `spec.provider` of a CUSTOM policy: the authorizer of the mesh's settings, and its Service. When
 * there is none to ask, what the policy's rules match is denied (Istio, conformance note 13).
 */
import type { AuthorizationPolicy } from "../api/authorization-policy.ts";
import type { ParsedObject } from "../api/object.ts";
import { nearest } from "../kit/nearest.ts";
import type { AuthorizationProvider, PolicyProvider } from "../model/authorization-provider.ts";
import { serviceWithHostname } from "./backends.ts";
import type { Findings } from "./findings.ts";
import { namespaceOf } from "./object-names.ts";
import type { Surroundings } from "./surroundings.ts";

export type ProviderSurroundings = Pick<Surroundings, "settings" | "servicesWithHostname">;

/** `undefined`: the policy needs none. */
export function resolveProvider(
  object: ParsedObject<AuthorizationPolicy>,
  near: ProviderSurroundings,
  findings: Findings,
): PolicyProvider | undefined {
  const { action, provider } = object.value.spec ?? {};
  if (action !== "CUSTOM") {
    if (provider !== undefined) {
      findings.report("WS0107", "provider has an effect with action CUSTOM alone", [
        "spec",
        "provider",
      ]);
    }
    return undefined;
  }
  const name = provider?.name ?? "";
  const found = resolve(name, namespaceOf(object), near);
  if (typeof found === "string") return { name, service: found, problem: undefined };
  const path = provider === undefined ? ["spec"] : ["spec", "provider"];
  findings.report("WS0104", `${found.problem}; what the policy matches is denied`, path);
  return { name, service: undefined, problem: found.problem };
}

/** The key of its service, or why it cannot be asked. */
function resolve(
  name: string,
  namespace: string,
  near: ProviderSurroundings,
): string | { readonly problem: string } {
  if (name === "") return { problem: "action CUSTOM needs provider.name" };
  const { authorizationProviders } = near.settings;
  const provider = authorizationProviders.find((known) => known.name === name);
  if (provider === undefined) {
    const guess = nearest(
      name,
      authorizationProviders.map((known) => known.name),
    );
    const hint = guess === undefined ? "" : `, did you mean ${guess}?`;
    return { problem: `provider ${name} is not among the mesh's extensionProviders${hint}` };
  }
  if (provider.problem !== undefined) {
    return { problem: `provider ${name} cannot be used (${provider.problem})` };
  }
  return serviceOf(provider, namespace, near);
}

function serviceOf(
  { name, service, port }: AuthorizationProvider,
  namespace: string,
  near: ProviderSurroundings,
): string | { readonly problem: string } {
  const slash = service.indexOf("/");
  const hostname = service.slice(slash + 1);
  const own = slash < 0 ? namespace : service.slice(0, slash);
  const facts = serviceWithHostname(hostname, own, near);
  if (facts === undefined || (slash >= 0 && facts.service.namespace !== own)) {
    return { problem: `provider ${name}: there is no service ${service}` };
  }
  if (facts.service.ports.every((known) => known.port !== port)) {
    return { problem: `provider ${name}: service ${service} has no port ${port}` };
  }
  return facts.service.key;
}
