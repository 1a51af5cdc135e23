/** L4 policies, judged for a trace; see `trace-rules.ts`. */
import type { Cidr, L4Match, L4Policy, L4Rule, StringMatch } from "../model/rule.ts";
import { isEmptyMatch } from "./compile-l4.ts";
import type { ConnectionFacts } from "./facts.ts";
import { IpRange, parseAddress } from "./match/cidr.ts";
import { peerOf } from "./match/peer.ts";
import { formatStringMatch, matchesString } from "./match/string.ts";
import type { AlternativeTrace, FieldTrace, PolicyTrace, RuleTrace } from "./trace.ts";

export function traceL4Policy(
  policy: L4Policy,
  attachedTo: string,
  facts: ConnectionFacts,
): PolicyTrace {
  const rules = policy.rules.map((rule, index) => traceRule(rule, index, facts));
  return {
    policy: policy.key,
    layer: "L4",
    action: policy.action,
    attachedTo,
    isDryRun: policy.isDryRun,
    isMatched: rules.some((rule) => rule.isMatched),
    matchedRule: rules.find((rule) => rule.isMatched)?.index,
    isDeciding: false,
    rules,
    note: policy.rules.length === 0 ? "it has no rules, so it never matches" : policy.because,
    source: policy.source,
    position: policy.position,
  };
}

function traceRule(rule: L4Rule, index: number, facts: ConnectionFacts): RuleTrace {
  const clauses = rule.clauses.map((matches) => {
    const alternatives = matches.map((match) => traceMatch(match, facts, rule));
    const isMatched = matches.length === 0 || alternatives.some(({ isMatched }) => isMatched);
    return { name: "clause" as const, isMatched, alternatives };
  });
  const isMatched = clauses.every((clause) => clause.isMatched);
  return { index, isMatched, clauses, note: undefined, position: rule.position };
}

function traceMatch(match: L4Match, facts: ConnectionFacts, rule: L4Rule): AlternativeTrace {
  const peer = peerOf(facts.sourceIdentity);
  const source = facts.sourceAddress;
  const target = facts.destinationAddress;
  const port = facts.destinationPort;
  const account = peer.serviceAccount;
  const possible = [
    strings("principal", match.principals, match.notPrincipals, peer.principal),
    strings("namespace", match.namespaces, match.notNamespaces, peer.namespace),
    judged(
      "serviceAccount",
      match.serviceAccounts,
      match.notServiceAccounts,
      account,
      (wanted) => accountName(wanted) === account,
      accountName,
    ),
    ranges("sourceIp", match.sourceIps, match.notSourceIps, source),
    ranges("destinationIp", match.destinationIps, match.notDestinationIps, target),
    judged(
      "port",
      match.destinationPorts,
      match.notDestinationPorts,
      String(port),
      (wanted) => wanted === port,
      String,
    ),
  ];
  const fields = possible.flatMap((field) =>
    field ? [{ ...field, position: rule.position }] : [],
  );
  if (isEmptyMatch(match)) return { isMatched: false, fields: [nothingAsked(rule)] };
  return { isMatched: fields.every((field) => field.isMatched), fields };
}

/** Stands for a match that asks for nothing, which never holds. */
function nothingAsked(rule: L4Rule): FieldTrace {
  return {
    path: "match",
    label: "match",
    isMatched: false,
    wanted: [],
    unwanted: [],
    seen: undefined,
    note: "nothing in it can be asked at layer 4, so it never matches",
    position: rule.position,
  };
}

function accountName(account: { namespace: string; serviceAccount: string }): string {
  return `${account.namespace}/${account.serviceAccount}`;
}

type BareField = Omit<FieldTrace, "position">;

function strings(
  label: string,
  wanted: readonly StringMatch[],
  unwanted: readonly StringMatch[],
  seen: string | undefined,
): BareField | undefined {
  const holds = (match: StringMatch) => matchesString(match, seen);
  return judged(label, wanted, unwanted, seen, holds, formatStringMatch);
}

function ranges(
  label: string,
  wanted: readonly Cidr[],
  unwanted: readonly Cidr[],
  seen: string,
): BareField | undefined {
  const address = parseAddress(seen);
  const holds = (cidr: Cidr) => address !== undefined && new IpRange(cidr).contains(address);
  return judged(label, wanted, unwanted, seen, holds, (cidr) => cidr.text);
}

function judged<T>(
  label: string,
  wanted: readonly T[],
  unwanted: readonly T[],
  seen: string | undefined,
  holds: (value: T) => boolean,
  format: (value: T) => string,
): BareField | undefined {
  if (wanted.length === 0 && unwanted.length === 0) return undefined;
  return {
    path: label,
    label,
    isMatched: (wanted.length === 0 || wanted.some(holds)) && !unwanted.some(holds),
    wanted: wanted.map(format),
    unwanted: unwanted.map(format),
    seen,
    note: undefined,
  };
}
