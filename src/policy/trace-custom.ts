/** What is known of a CUSTOM policy's provider: its answer, or that it would be asked. */
import type { PolicyProvider } from "../model/authorization-provider.ts";
import type { AuthorizationPolicy } from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import { isRefusal, NO_PROVIDER, providerOrder, tcpProvider } from "./custom-policies.ts";
import { type ConnectionFacts, type HttpFacts, isHttp } from "./facts.ts";

export interface CustomTrace {
  readonly order: string;
  /** It does not refuse: the provider lets it pass, or would have to be asked. */
  readonly isAsked: boolean;
  /** undefined: the policy's own says it. */
  readonly note: string | undefined;
}

export function traceCustom(
  policy: AuthorizationPolicy,
  facts: ConnectionFacts | HttpFacts,
  settings: MeshSettings,
): CustomTrace {
  const named = policy.provider ?? NO_PROVIDER;
  const provider = isHttp(facts) ? named : tcpProvider(named, settings);
  const order = providerOrder(named);
  if (provider === undefined) {
    return { order, isAsked: true, note: `${policy.key}: ${named.name} is for requests alone` };
  }
  const isAsked = !isRefusal(provider, facts.providerAnswers);
  const answer = answerOf(provider, facts);
  return { order, isAsked, note: answer && `${policy.key}: ${answer}` };
}

function answerOf({ name, service }: PolicyProvider, facts: ConnectionFacts): string | undefined {
  if (service === undefined) return undefined;
  switch (facts.providerAnswers?.[name]) {
    case undefined:
      return `provider ${name} would be asked; taken as if it let this pass`;
    case true:
      return `provider ${name} lets this pass`;
    case false:
      return `provider ${name} refuses`;
  }
}

/** In the order in which providers are asked. */
export function compareCustom(a: CustomTrace | undefined, b: CustomTrace | undefined): number {
  const [first, second] = [a?.order ?? "", b?.order ?? ""];
  return first < second ? -1 : Number(first > second);
}
