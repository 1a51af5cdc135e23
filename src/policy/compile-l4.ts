/**
 * L4 policies (`istio.security.Authorization`), compiled for the ztunnel: protocols.md §4.1 exactly.
 *
 * A policy matches if any rule does, a rule if all its clauses do, a clause if any of its matches
 * does. A policy without rules never matches; a rule without clauses and a clause without matches
 * always do; a match in which nothing is asked never does. Trust-domain aliases play no part here.
 */
import type { L4Clause, L4Match, L4Policy, L4Rule } from "../model/rule.ts";
import type { ConnectionFacts } from "./facts.ts";
import { addresses, IpRange, inAnyRange } from "./match/cidr.ts";
import { peerOf } from "./match/peer.ts";
import { StringSet } from "./match/string.ts";
import type { Verdict } from "./verdict.ts";

interface NamedAccount {
  readonly namespace: string;
  readonly serviceAccount: string;
}

class CompiledMatch {
  readonly #principals: StringSet;
  readonly #notPrincipals: StringSet;
  readonly #namespaces: StringSet;
  readonly #notNamespaces: StringSet;
  readonly #serviceAccounts: ReadonlySet<string>;
  readonly #notServiceAccounts: ReadonlySet<string>;
  readonly #sourceIps: readonly IpRange[];
  readonly #notSourceIps: readonly IpRange[];
  readonly #destinationIps: readonly IpRange[];
  readonly #notDestinationIps: readonly IpRange[];
  readonly #ports: ReadonlySet<number>;
  readonly #notPorts: ReadonlySet<number>;

  constructor(match: L4Match) {
    this.#principals = new StringSet(match.principals);
    this.#notPrincipals = new StringSet(match.notPrincipals);
    this.#namespaces = new StringSet(match.namespaces);
    this.#notNamespaces = new StringSet(match.notNamespaces);
    this.#serviceAccounts = accountNames(match.serviceAccounts);
    this.#notServiceAccounts = accountNames(match.notServiceAccounts);
    this.#sourceIps = match.sourceIps.map((cidr) => new IpRange(cidr));
    this.#notSourceIps = match.notSourceIps.map((cidr) => new IpRange(cidr));
    this.#destinationIps = match.destinationIps.map((cidr) => new IpRange(cidr));
    this.#notDestinationIps = match.notDestinationIps.map((cidr) => new IpRange(cidr));
    this.#ports = new Set(match.destinationPorts);
    this.#notPorts = new Set(match.notDestinationPorts);
  }

  matches(facts: ConnectionFacts): boolean {
    return this.#matchesPort(facts) && this.#matchesPeer(facts) && this.#matchesAddresses(facts);
  }

  #matchesPort(facts: ConnectionFacts): boolean {
    const { destinationPort } = facts;
    if (this.#ports.size > 0 && !this.#ports.has(destinationPort)) return false;
    return !this.#notPorts.has(destinationPort);
  }

  #matchesPeer(facts: ConnectionFacts): boolean {
    const { principal, namespace, serviceAccount } = peerOf(facts.sourceIdentity);
    if (!this.#principals.isEmpty && !this.#principals.matches(principal)) return false;
    if (this.#notPrincipals.matches(principal)) return false;
    if (!this.#namespaces.isEmpty && !this.#namespaces.matches(namespace)) return false;
    if (this.#notNamespaces.matches(namespace)) return false;
    const account = serviceAccount ?? "";
    if (this.#serviceAccounts.size > 0 && !this.#serviceAccounts.has(account)) return false;
    return !this.#notServiceAccounts.has(account);
  }

  #matchesAddresses(facts: ConnectionFacts): boolean {
    if (this.#sourceIps.length > 0 || this.#notSourceIps.length > 0) {
      const source = addresses.get(facts.sourceAddress);
      if (this.#sourceIps.length > 0 && !inAnyRange(this.#sourceIps, source)) return false;
      if (inAnyRange(this.#notSourceIps, source)) return false;
    }
    if (this.#destinationIps.length > 0 || this.#notDestinationIps.length > 0) {
      const target = addresses.get(facts.destinationAddress);
      if (this.#destinationIps.length > 0 && !inAnyRange(this.#destinationIps, target)) {
        return false;
      }
      if (inAnyRange(this.#notDestinationIps, target)) return false;
    }
    return true;
  }
}

function accountNames(accounts: readonly NamedAccount[]): ReadonlySet<string> {
  return new Set(accounts.map((account) => `${account.namespace}/${account.serviceAccount}`));
}

const LISTS = [
  "namespaces",
  "notNamespaces",
  "principals",
  "notPrincipals",
  "serviceAccounts",
  "notServiceAccounts",
  "sourceIps",
  "notSourceIps",
  "destinationIps",
  "notDestinationIps",
  "destinationPorts",
  "notDestinationPorts",
] as const satisfies readonly (keyof L4Match)[];

/** Whether nothing is asked: such a match never holds. */
export function isEmptyMatch(match: L4Match): boolean {
  return LISTS.every((list) => match[list].length === 0);
}

class CompiledL4Rule {
  readonly verdict: Verdict;
  readonly #clauses: readonly (readonly CompiledMatch[])[];

  constructor(verdict: Verdict, clauses: readonly (readonly CompiledMatch[])[]) {
    this.verdict = verdict;
    this.#clauses = clauses;
  }

  matches(facts: ConnectionFacts): boolean {
    for (let i = 0; i < this.#clauses.length; i++) {
      if (!anyMatches(this.#clauses[i]!, facts)) return false;
    }
    return true;
  }
}

function anyMatches(matches: readonly CompiledMatch[], facts: ConnectionFacts): boolean {
  for (let i = 0; i < matches.length; i++) {
    if (matches[i]!.matches(facts)) return true;
  }
  return false;
}

/** Without clauses that always hold; `undefined` when one never does. */
function compileRule(policy: L4Policy, rule: L4Rule, index: number): CompiledL4Rule | undefined {
  const clauses: (readonly CompiledMatch[])[] = [];
  for (const clause of rule.clauses) {
    if (clause.length === 0) continue;
    const matches = compileClause(clause);
    if (matches.length === 0) return undefined;
    clauses.push(matches);
  }
  return new CompiledL4Rule(l4Verdict(policy, index), clauses);
}

function compileClause(clause: L4Clause): readonly CompiledMatch[] {
  return clause.filter((match) => !isEmptyMatch(match)).map((match) => new CompiledMatch(match));
}

export class CompiledL4Policy {
  readonly action: "ALLOW" | "DENY";
  readonly isDryRun: boolean;
  readonly #rules: readonly CompiledL4Rule[];

  constructor(policy: L4Policy) {
    this.action = policy.action;
    this.isDryRun = policy.isDryRun;
    this.#rules = policy.rules.flatMap((rule, index) => compileRule(policy, rule, index) ?? []);
  }

  match(facts: ConnectionFacts): Verdict | undefined {
    for (let i = 0; i < this.#rules.length; i++) {
      const rule = this.#rules[i]!;
      if (rule.matches(facts)) return rule.verdict;
    }
    return undefined;
  }
}

/** What a match of the rule means. */
export function l4Verdict(policy: L4Policy, rule: number): Verdict {
  const isAllowed = policy.action === "ALLOW";
  return {
    isAllowed,
    because: isAllowed ? "allowed" : "denied",
    policy: policy.key,
    rule,
    position: policy.rules[rule]?.position ?? policy.position,
  };
}
