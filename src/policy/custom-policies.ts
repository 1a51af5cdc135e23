/**
 * CUSTOM policies: which of the mesh's authorizers a request or connection has to be shown to.
 *
 * Each provider is asked once, in the order of their names, however many of its policies match.
 * One that cannot be asked refuses what its policies match. What the others answer is a fact
 * (`providerAnswers`), so that a decision stays a pure function of facts.
 */
import type { PolicyProvider } from "../model/authorization-provider.ts";
import type { AuthorizationPolicy } from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import type { CompiledPolicy } from "./compile-rules.ts";
import type { ConnectionFacts, HttpFacts, ProviderAnswers } from "./facts.ts";
import type { Verdict } from "./verdict.ts";

/** Of one provider, for one request. */
export interface ProviderQuestion {
  readonly provider: PolicyProvider;
  /** That of the rule that asks, when the answer is no. */
  readonly verdict: Verdict;
}

const NOTHING: readonly ProviderQuestion[] = [];

interface Group {
  readonly provider: PolicyProvider;
  readonly policies: CompiledPolicy[];
}

/** Providers are asked in this order; those of one name and service once. */
export function providerOrder({ name, service = "" }: PolicyProvider): string {
  return `${name} ${service}`;
}

export class CustomPolicies {
  readonly #groups: readonly Group[];
  /** Those that can be asked about a connection, or must refuse it. */
  readonly #tcpGroups: readonly Group[];

  constructor(
    policies: readonly AuthorizationPolicy[],
    settings: MeshSettings,
    compiled: (policy: AuthorizationPolicy) => CompiledPolicy,
  ) {
    const groups = new Map<string, Group>();
    for (const policy of policies) {
      if (policy.action !== "CUSTOM" || policy.isDryRun) continue;
      const provider = policy.provider ?? NO_PROVIDER;
      const key = providerOrder(provider);
      const group = groups.get(key) ?? { provider, policies: [] };
      group.policies.push(compiled(policy));
      groups.set(key, group);
    }
    this.#groups = [...groups.keys()].sort().map((key) => groups.get(key)!);
    this.#tcpGroups = this.#groups.flatMap((group) => onTcp(group, settings) ?? []);
  }

  questions(facts: HttpFacts): readonly ProviderQuestion[] {
    if (this.#groups.length === 0) return NOTHING;
    return ask(this.#groups, (policy) => policy.match(facts));
  }

  tcpQuestions(facts: ConnectionFacts): readonly ProviderQuestion[] {
    if (this.#tcpGroups.length === 0) return NOTHING;
    return ask(this.#tcpGroups, (policy) => policy.matchTcp(facts));
  }
}

export const NO_PROVIDER: PolicyProvider = {
  name: "",
  service: undefined,
  problem: "no provider is named",
};

/**
 * An HTTP authorizer cannot be told of a connection. Istio lets what it should be asked about pass;
 * here it refuses.
 */
function onTcp(group: Group, settings: MeshSettings): Group | undefined {
  const provider = tcpProvider(group.provider, settings);
  return provider && { ...group, provider };
}

/** As connections see it; `undefined`: they are not shown to it. */
export function tcpProvider(
  provider: PolicyProvider,
  settings: MeshSettings,
): PolicyProvider | undefined {
  const known = settings.authorizationProviders.find(({ name }) => name === provider.name);
  if (known?.protocol !== "HTTP") return provider;
  if (settings.compatibility === "istio") return undefined;
  const problem = `provider ${known.name} speaks HTTP, and cannot be asked about connections`;
  return { ...provider, service: undefined, problem };
}

function ask(
  groups: readonly Group[],
  match: (policy: CompiledPolicy) => Verdict | undefined,
): readonly ProviderQuestion[] {
  const questions: ProviderQuestion[] = [];
  for (const { provider, policies } of groups) {
    for (const policy of policies) {
      const verdict = match(policy);
      if (verdict === undefined) continue;
      questions.push({ provider, verdict });
      break;
    }
  }
  return questions.length === 0 ? NOTHING : questions;
}

type Answers = ProviderAnswers | undefined;

/** Of the first that says no, or cannot be asked. */
export function refusedByProvider(
  questions: readonly ProviderQuestion[],
  answers: Answers,
): Verdict | undefined {
  return questions.find(({ provider }) => isRefusal(provider, answers))?.verdict;
}

/** One that nobody has asked yet says yes. */
export function isRefusal({ name, service }: PolicyProvider, answers: Answers): boolean {
  return service === undefined || answers?.[name] === false;
}
