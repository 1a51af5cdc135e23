/**
 * AuthorizationPolicies, compiled for the proxies: every field becomes an object that looks at the
 * facts and compares. What can be decided beforehand is (a field that cannot be evaluated is always
 * true in a DENY and never in an ALLOW), and nothing is allocated while judging.
 *
 * One policy is compiled twice: for requests, and for TCP connections, where an ALLOW rule with any
 * HTTP attribute is dropped and any other is judged without them (conformance note 2).
 */
import type {
  AuthorizationPolicy,
  FieldMatch,
  FieldSet,
  FieldValue,
  PolicyAction,
  Rule,
} from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import type { ConnectionFacts, HttpFacts } from "./facts.ts";
import {
  ClaimMatcher,
  DestinationIpMatcher,
  HeaderMatcher,
  HostMatcher,
  type Matcher,
  MethodMatcher,
  NamespaceMatcher,
  PathMatcher,
  PortMatcher,
  PrincipalMatcher,
  RemoteIpMatcher,
  RequestPrincipalMatcher,
  ServerNameMatcher,
  ServiceAccountMatcher,
  SourceIpMatcher,
  TrustDomainMatcher,
} from "./field-matchers.ts";
import { isEvaluable, isHttpOnly, isRefusing, isUnusable, stringMatches } from "./fields.ts";
import { StringSet } from "./match/string.ts";
import type { Verdict } from "./verdict.ts";

/** Fields that must all hold. */
type Conjunction<F> = readonly Matcher<F>[];

export class CompiledRule<F> {
  readonly verdict: Verdict;
  readonly from: readonly Conjunction<F>[];
  readonly to: readonly Conjunction<F>[];
  readonly when: Conjunction<F>;

  constructor(
    verdict: Verdict,
    from: readonly Conjunction<F>[],
    to: readonly Conjunction<F>[],
    when: Conjunction<F>,
  ) {
    this.verdict = verdict;
    this.from = from;
    this.to = to;
    this.when = when;
  }

  matches(facts: F): boolean {
    return anyHolds(this.from, facts) && anyHolds(this.to, facts) && allHold(this.when, facts);
  }
}

/** None at all: holds. */
function anyHolds<F>(alternatives: readonly Conjunction<F>[], facts: F): boolean {
  for (let i = 0; i < alternatives.length; i++) {
    if (allHold(alternatives[i]!, facts)) return true;
  }
  return alternatives.length === 0;
}

function allHold<F>(matchers: Conjunction<F>, facts: F): boolean {
  for (let i = 0; i < matchers.length; i++) {
    if (!matchers[i]!.matches(facts)) return false;
  }
  return true;
}

/** The rules of one policy that can match at all. */
export class CompiledPolicy {
  readonly action: PolicyAction;
  readonly isDryRun: boolean;
  readonly http: readonly CompiledRule<HttpFacts>[];
  readonly tcp: readonly CompiledRule<ConnectionFacts>[];

  constructor(policy: AuthorizationPolicy, settings: MeshSettings) {
    this.action = policy.action;
    this.isDryRun = policy.isDryRun;
    const forHttp = new RuleCompiler<HttpFacts>(policy, settings, false);
    this.http = policy.rules.flatMap((rule) => forHttp.compile(rule) ?? []);
    const forTcp = new RuleCompiler<ConnectionFacts>(policy, settings, true);
    this.tcp = policy.rules.flatMap((rule) => forTcp.compile(rule) ?? []);
  }

  /** The verdict of the first rule that matches. */
  match(facts: HttpFacts): Verdict | undefined {
    return firstMatch(this.http, facts);
  }

  matchTcp(facts: ConnectionFacts): Verdict | undefined {
    return firstMatch(this.tcp, facts);
  }
}

function firstMatch<F>(rules: readonly CompiledRule<F>[], facts: F): Verdict | undefined {
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i]!;
    if (rule.matches(facts)) return rule.verdict;
  }
  return undefined;
}

class RuleCompiler<F extends ConnectionFacts> {
  readonly #policy: AuthorizationPolicy;
  readonly #settings: MeshSettings;
  readonly #isTcp: boolean;

  constructor(policy: AuthorizationPolicy, settings: MeshSettings, isTcp: boolean) {
    this.#policy = policy;
    this.#settings = settings;
    this.#isTcp = isTcp;
  }

  /** `undefined`: it can never match. */
  compile(rule: Rule): CompiledRule<F> | undefined {
    if (this.#isTcp && this.#policy.action === "ALLOW" && hasHttpField(rule)) return undefined;
    const from = this.#alternatives(rule.from);
    const to = this.#alternatives(rule.to);
    const when = this.#conjunction(rule.when);
    if (!from || !to || !when) return undefined;
    return new CompiledRule(ruleVerdict(this.#policy, rule), from, to, when);
  }

  /** Without those that never hold; `undefined` when that leaves none. */
  #alternatives(sets: readonly FieldSet[]): readonly Conjunction<F>[] | undefined {
    const possible = sets.flatMap((set) => {
      const fields = this.#conjunction(set);
      return fields ? [fields] : [];
    });
    return sets.length > 0 && possible.length === 0 ? undefined : possible;
  }

  /** Without those that always hold; `undefined` when one never does. */
  #conjunction(set: FieldSet): Conjunction<F> | undefined {
    const matchers: Matcher<F>[] = [];
    for (const field of set) {
      const matcher = this.#field(field);
      if (matcher === false) return undefined;
      if (matcher !== true) matchers.push(matcher);
    }
    return matchers;
  }

  #field(field: FieldMatch): Matcher<F> | boolean {
    const { action } = this.#policy;
    if (this.#isTcp && isHttpOnly(field)) return true;
    if (!isEvaluable(field)) return isRefusing(action);
    if (!isUnusable(field)) return this.#matcher(field) as Matcher<F>;
    if (!isRefusing(action)) return false;
    // What is left of the field still narrows a DENY: the author's usable half.
    return this.#matcher(field) as Matcher<F>;
  }

  #matcher(field: FieldMatch): Matcher<HttpFacts> | Matcher<ConnectionFacts> {
    switch (field.field) {
      case "sourceIp":
        return new SourceIpMatcher(field);
      case "remoteIp":
        return new RemoteIpMatcher(field);
      case "destinationIp":
        return new DestinationIpMatcher(field);
      case "port":
        return new PortMatcher(field);
    }
    const wanted = this.#strings(field, field.values);
    const unwanted = this.#strings(field, field.notValues);
    switch (field.field) {
      case "principal":
        return new PrincipalMatcher(wanted, unwanted);
      case "trustDomain":
        return new TrustDomainMatcher(wanted, unwanted);
      case "sni":
        return new ServerNameMatcher(wanted, unwanted);
      case "namespace":
        return new NamespaceMatcher(wanted, unwanted);
      case "serviceAccount":
        return new ServiceAccountMatcher(wanted, unwanted);
      case "host":
        return new HostMatcher(wanted, unwanted);
      case "method":
        return new MethodMatcher(wanted, unwanted);
      case "path":
        return new PathMatcher(wanted, unwanted);
      case "requestPrincipal":
        return new RequestPrincipalMatcher(wanted, unwanted);
      default:
        return field.field.startsWith("claim:")
          ? new ClaimMatcher(field.field.slice("claim:".length), wanted, unwanted)
          : new HeaderMatcher(field.field.slice("header:".length), wanted, unwanted);
    }
  }

  #strings(field: FieldMatch, values: readonly FieldValue[]): StringSet {
    const { namespace } = this.#policy.source;
    return new StringSet(stringMatches(field, values, namespace, this.#settings));
  }
}

/** Whether any field of the rule looks at a request. */
function hasHttpField(rule: Rule): boolean {
  return [...rule.from, ...rule.to, rule.when].some((set) => set.some(isHttpOnly));
}

/** What a match of the rule means. */
export function ruleVerdict(policy: AuthorizationPolicy, rule: Rule): Verdict {
  const isAllowed = !isRefusing(policy.action);
  return {
    isAllowed,
    because: isAllowed ? "allowed" : "denied",
    policy: policy.key,
    rule: rule.index,
    position: rule.position ?? policy.position,
  };
}
