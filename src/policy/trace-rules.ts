/**
 * AuthorizationPolicies, judged for a trace: walks the model as people wrote it, evaluates every
 * rule and field whether it still matters or not, and writes down what it saw. It shares with the
 * compiled way only what a single value is compared with; a property test holds the two equal.
 */
import type { AuthorizationPolicy, FieldMatch, FieldSet, FieldValue, Rule } from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import { NO_PROVIDER } from "./custom-policies.ts";
import { type ConnectionFacts, type HttpFacts, isHttp } from "./facts.ts";
import { claimPath, claimValues, headerOf, remoteAddressOf } from "./field-matchers.ts";
import {
  isEvaluable,
  isHttpOnly,
  isRefusing,
  isUnusable,
  stringMatches,
  usable,
} from "./fields.ts";
import { IpRange, parseAddress } from "./match/cidr.ts";
import { peerOf } from "./match/peer.ts";
import { matchesString } from "./match/string.ts";
import { redacted } from "./redact.ts";
import type { AlternativeTrace, ClauseTrace, FieldTrace, PolicyTrace, RuleTrace } from "./trace.ts";

export function tracePolicy(
  policy: AuthorizationPolicy,
  attachedTo: string,
  facts: ConnectionFacts | HttpFacts,
  settings: MeshSettings,
): PolicyTrace {
  const tracer = new RuleTracer(policy, facts, settings);
  const rules = policy.rules.map((rule) => tracer.rule(rule));
  return {
    policy: policy.key,
    layer: "L7",
    action: policy.action,
    attachedTo,
    isDryRun: policy.isDryRun,
    isMatched: rules.some((rule) => rule.isMatched),
    matchedRule: rules.find((rule) => rule.isMatched)?.index,
    isDeciding: false,
    rules,
    note: policyNote(policy),
    source: policy.source,
    position: policy.position,
  };
}

function policyNote(policy: AuthorizationPolicy): string | undefined {
  if (policy.rules.length === 0) return "it has no rules, so it never matches";
  if (policy.action !== "CUSTOM") return undefined;
  const { name, service, problem } = policy.provider ?? NO_PROVIDER;
  if (service !== undefined) return `provider ${name} decides`;
  return `${problem ?? "there is nobody to ask"}: what its rules match is denied`;
}

class RuleTracer {
  readonly #policy: AuthorizationPolicy;
  readonly #facts: ConnectionFacts | HttpFacts;
  readonly #settings: MeshSettings;

  constructor(
    policy: AuthorizationPolicy,
    facts: ConnectionFacts | HttpFacts,
    settings: MeshSettings,
  ) {
    this.#policy = policy;
    this.#facts = facts;
    this.#settings = settings;
  }

  rule(rule: Rule): RuleTrace {
    const clauses: ClauseTrace[] = [];
    if (rule.from.length > 0) clauses.push(this.#clause("from", rule.from));
    if (rule.to.length > 0) clauses.push(this.#clause("to", rule.to));
    if (rule.when.length > 0) clauses.push(this.#clause("when", [rule.when]));
    const isLeftOut = this.#isLeftOut(rule);
    return {
      index: rule.index,
      isMatched: !isLeftOut && clauses.every((clause) => clause.isMatched),
      clauses,
      note: isLeftOut
        ? "it asks for HTTP attributes, which a TCP connection has not: left out"
        : undefined,
      position: rule.position,
    };
  }

  /** On TCP an ALLOW loses its rules with HTTP attributes (conformance note 2). */
  #isLeftOut(rule: Rule): boolean {
    if (isHttp(this.#facts) || this.#policy.action !== "ALLOW") return false;
    return [...rule.from, ...rule.to, rule.when].flat().some(isHttpOnly);
  }

  #clause(name: ClauseTrace["name"], sets: readonly FieldSet[]): ClauseTrace {
    const alternatives = sets.map((set) => this.#alternative(set));
    const isMatched = alternatives.some((alternative) => alternative.isMatched);
    return { name, isMatched, alternatives };
  }

  #alternative(set: FieldSet): AlternativeTrace {
    const fields = set.map((field) => this.#field(field));
    return { isMatched: fields.every((field) => field.isMatched), fields };
  }

  #field(field: FieldMatch): FieldTrace {
    const { isMatched, note } = this.#judge(field);
    return {
      path: field.path,
      label: labelOf(field),
      isMatched,
      wanted: field.values.map((value) => value.text),
      unwanted: field.notValues.map((value) => value.text),
      seen: this.#shown(field),
      note,
      position: field.position,
    };
  }

  #judge(field: FieldMatch): { isMatched: boolean; note: string | undefined } {
    const isDenying = isRefusing(this.#policy.action);
    if (isHttpOnly(field) && !isHttp(this.#facts)) {
      return { isMatched: true, note: "an HTTP attribute, ignored on a TCP connection" };
    }
    if (!isEvaluable(field)) {
      const effect = isDenying ? "it counts as matching" : "it never matches";
      return { isMatched: isDenying, note: `this version cannot evaluate it: ${effect}` };
    }
    const isUsable = !isUnusable(field);
    if (!isUsable && !isDenying) {
      return { isMatched: false, note: "a list of which no value can be used: it never matches" };
    }
    const isWanted = (value: FieldValue) => this.#matches(field, value);
    const values = usable(field, field.values);
    const notValues = usable(field, field.notValues);
    return {
      isMatched: (values.length === 0 || values.some(isWanted)) && !notValues.some(isWanted),
      note: isUsable ? undefined : "a list of which no value can be used is left out of a DENY",
    };
  }

  #matches(field: FieldMatch, value: FieldValue): boolean {
    const facts = this.#facts;
    if (value.type === "port") return facts.destinationPort === value.port;
    if (field.field.startsWith("claim:")) return this.#claimMatches(field, value);
    const seen = this.#seen(field);
    if (value.type === "cidr") {
      const address = seen === undefined ? undefined : parseAddress(seen);
      return address !== undefined && new IpRange(value.cidr).contains(address);
    }
    const { namespace } = this.#policy.source;
    const matches = stringMatches(field, [value], namespace, this.#settings);
    const compared = field.field === "host" ? seen?.toLowerCase() : seen;
    const isHeader = field.field.startsWith("header:");
    return matches.some((match) =>
      isHeader && match.type === "presence" ? seen !== undefined : matchesString(match, compared),
    );
  }

  #claimMatches(field: FieldMatch, value: FieldValue): boolean {
    const seen = isHttp(this.#facts) ? claimSeen(field, this.#facts) : [];
    return value.type === "string" && seen.some((one) => matchesString(value.match, one));
  }

  #seen(field: FieldMatch): string | undefined {
    const facts = this.#facts;
    const peer = peerOf(facts.sourceIdentity);
    switch (field.field) {
      case "principal":
        return peer.principal;
      case "namespace":
        return peer.namespace;
      case "serviceAccount":
        return peer.serviceAccount;
      case "sourceIp":
        return facts.sourceAddress;
      case "trustDomain":
        return peer.trustDomain;
      case "sni":
        return facts.serverName;
      case "remoteIp":
        return remoteAddressOf(facts);
      case "destinationIp":
        return facts.destinationAddress;
      case "port":
        return String(facts.destinationPort);
      default:
        return isHttp(facts) && isEvaluable(field) ? seenInRequest(field, facts) : undefined;
    }
  }

  #shown(field: FieldMatch): string | undefined {
    const seen = this.#seen(field);
    if (!field.field.startsWith("header:")) return seen;
    const name = field.field.slice("header:".length);
    // A query may hold tokens, and which parameter does is not known here.
    return name === ":path" ? seen?.replace(/\?.*$/s, "?[redacted]") : redacted(name, seen);
  }
}

function claimSeen(field: FieldMatch, facts: HttpFacts): readonly string[] {
  return claimValues(facts, claimPath(field.field.slice("claim:".length)));
}

function seenInRequest(field: FieldMatch, facts: HttpFacts): string | undefined {
  if (field.field.startsWith("claim:")) {
    const values = claimSeen(field, facts);
    return values.length === 0 ? undefined : values.join(" ");
  }
  switch (field.field) {
    case "requestPrincipal":
      return facts.jwt?.principal;
    case "host":
      return facts.authority;
    case "method":
      return facts.method;
    case "path":
      return facts.path;
    default:
      return headerOf(facts, field.field.slice("header:".length));
  }
}

function labelOf(field: FieldMatch): string {
  return field.field
    .replace(/^header:/, "header ")
    .replace(/^claim:(.*)$/, "request.auth.claims[$1]")
    .replace(/^unsupported:/, "");
}
