/**
 * AuthorizationPolicies without `targetRefs`: what ztunnels enforce, by selector, namespace or
 * mesh.
 *
 * A ztunnel sees identities, addresses and ports. What else a rule asks fails closed (D4): in an
 * ALLOW the rule is left out, in a DENY the rest of it denies, and a CUSTOM policy denies what it
 * matches, since no ztunnel asks a provider. `compatibility: istio` does what Istio does:
 * there a DENY clause in which nothing is left never matches, and AUDIT, CUSTOM and dry-run
 * policies are not sent.
 */
import type { AuthorizationPolicy as ApiPolicy } from "../api/authorization-policy.ts";
import type { ParsedObject } from "../api/object.ts";
import type { FieldMatch, L4Clause, L4Match, L4Policy, L4Rule, Rule } from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import { isL4Field, type L4Context, translateFieldSet } from "./l4-fields.ts";
import { EMPTY_MATCH } from "./l4-match.ts";
import { type Labels, nameOf, namespaceOf, refOf } from "./object-names.ts";
import { actionOf, isDryRun, translateRules } from "./policies.ts";

export interface L4Facts {
  readonly policy: L4Policy;
  /** Only for the scope WORKLOAD_SELECTOR. */
  readonly selector: Labels | undefined;
  /** From the root namespace a selector takes workloads of the whole mesh. */
  readonly isMeshWide: boolean;
}

export interface TranslatedL4Policy {
  readonly facts: L4Facts | undefined;
  readonly status: ObjectStatus | undefined;
}

export function translateL4Policy(
  object: ParsedObject<ApiPolicy>,
  settings: MeshSettings,
): TranslatedL4Policy {
  const findings = new Findings(object);
  const action = actionOf(object);
  const isIstio = settings.compatibility === "istio";
  const refuse = (message: string) => {
    findings.condition("ZtunnelAccepted", false, "UnsupportedValue", message);
    findings.report("WS0104", `${message}; the policy is not enforced`);
    return { facts: undefined, status: findings.status() };
  };
  const unsupported = `ztunnel does not support the ${action} action`;
  if (action === "AUDIT" || (isIstio && action === "CUSTOM")) return refuse(unsupported);
  if (isIstio && isDryRun(object)) return refuse("ztunnel does not support dry-run policies");

  const { rules } = translateRules(object, settings, findings);
  const context: L4Context = {
    action: action === "ALLOW" ? "ALLOW" : "DENY",
    isIstio,
    namespace: namespaceOf(object),
  };
  const translated = rules.flatMap((rule) => translateRule(rule, context) ?? []);
  const policy = assemble(object, translated, context, settings);
  if (action === "CUSTOM") {
    findings.condition("ZtunnelAccepted", true, "UnsupportedValue", unsupported);
    findings.report("WS0104", `${unsupported}: what the policy matches is denied`);
  } else reportL7(rules, translated, context, findings);
  const spec = object.value.spec ?? {};
  const selector = spec.selector === undefined ? undefined : (spec.selector.matchLabels ?? {});
  const isMeshWide = namespaceOf(object) === settings.rootNamespace;
  return { facts: { policy, selector, isMeshWide }, status: findings.status() };
}

function assemble(
  object: ParsedObject<ApiPolicy>,
  rules: readonly L4Rule[],
  { action, namespace }: L4Context,
  settings: MeshSettings,
): L4Policy {
  const name = nameOf(object);
  const isRoot = namespace === settings.rootNamespace;
  const hasSelector = object.value.spec?.selector !== undefined;
  return {
    key: `${namespace}/${name}`,
    namespace,
    name,
    scope: hasSelector ? "WORKLOAD_SELECTOR" : isRoot ? "GLOBAL" : "NAMESPACE",
    action,
    rules,
    isDryRun: isDryRun(object),
    source: refOf(object),
    position: object.position,
    because: undefined,
  };
}

/**
 * One clause for `to`, one for `from`, one for each condition. `undefined`: the rule is left out.
 */
function translateRule(rule: Rule, context: L4Context): L4Rule | undefined {
  if (context.action === "ALLOW" && l7Fields(rule, context).length > 0) return undefined;
  const clauses: L4Clause[] = [];
  const alternatives = [rule.to, rule.from, ...rule.when.map((field) => [[field]])];
  for (const sets of alternatives) {
    if (sets.length === 0) continue;
    const clause = translateClause(sets, context);
    if (clause === "never") return undefined;
    if (clause !== "always") clauses.push(clause);
  }
  return { clauses, position: rule.position };
}

type Outcome<T> = T | "always" | "never";

/** "always": it asks nothing that a ztunnel could answer with no. */
function translateClause(
  sets: readonly (readonly FieldMatch[])[],
  context: L4Context,
): Outcome<L4Clause> {
  const matches: L4Match[] = [];
  for (const fields of sets) {
    const match = translateFieldSet(fields, context);
    if (match === "always" && !context.isIstio) return "always";
    if (match === "never") continue;
    // Istio's empty match never holds, but stands there.
    matches.push(match === "always" ? EMPTY_MATCH : match);
  }
  return matches.length > 0 ? matches : "never";
}

export function l7Fields(rule: Rule, context: L4Context): readonly string[] {
  const names: string[] = [];
  for (const set of [...rule.from, ...rule.to]) {
    for (const field of set) {
      if (isL4Field(field, false, context)) continue;
      const name = field.path.slice(field.path.lastIndexOf(".") + 1);
      const positive = name.startsWith("not") ? name[3]!.toLowerCase() + name.slice(4) : name;
      if (field.hasValues) names.push(positive);
      if (field.hasNotValues) names.push(`not${positive[0]!.toUpperCase()}${positive.slice(1)}`);
    }
  }
  for (const field of rule.when) if (!isL4Field(field, true, context)) names.push(keyOf(field));
  return names;
}

/** The condition's key, from the field it became. */
function keyOf({ field }: FieldMatch): string {
  if (field.startsWith("header:")) return `request.headers[${field.slice("header:".length)}]`;
  if (field.startsWith("unsupported:")) return field.slice("unsupported:".length);
  const keys: Readonly<Record<string, string>> = {
    "claim:aud": "request.auth.audiences",
    "claim:azp": "request.auth.presenter",
    remoteIp: "remote.ip",
    requestPrincipal: "request.auth.principal",
    sni: "connection.sni",
    serviceAccount: "source.serviceAccount",
    trustDomain: "source.trustDomain",
  };
  const known = keys[field] ?? field;
  return known.startsWith("claim:")
    ? `request.auth.claims[${known.slice("claim:".length)}]`
    : known;
}

const ALLOW_EFFECT =
  "Within an ALLOW policy, rules matching HTTP attributes are omitted. This will be more restrictive than requested.";
const DENY_EFFECT =
  "DENY policy with HTTP attributes is enforced without the HTTP rules. This will be more restrictive than requested.";
const NO_EFFECT =
  "After omitting unsupported HTTP attributes, this DENY policy has no enforceable rules at ztunnel and will have no effect. Deploy a waypoint proxy and use a targetRef to enforce this policy.";

function reportL7(
  rules: readonly Rule[],
  translated: readonly L4Rule[],
  context: L4Context,
  findings: Findings,
): void {
  const found = [...new Set(rules.flatMap((rule) => l7Fields(rule, context)))].sort();
  if (found.length === 0) {
    findings.condition("ZtunnelAccepted", true, "Accepted", "attached to ztunnel");
    return;
  }
  const hasEffect = translated.some(({ clauses }) => clauses.every(canHold));
  const effect = context.action === "ALLOW" ? ALLOW_EFFECT : hasEffect ? DENY_EFFECT : NO_EFFECT;
  const message = `ztunnel does not support HTTP attributes (found: ${found.join(", ")}). In ambient mode you must use a waypoint proxy to enforce HTTP rules. ${effect}`;
  findings.condition("ZtunnelAccepted", true, "UnsupportedValue", message);
  const isBare =
    context.action === "DENY" &&
    (context.isIstio ? !hasEffect : rules.some((rule) => isHttpAlone(rule, context)));
  const diagnosed = isBare ? bareDeny(found.join(", "), context.isIstio) : message;
  findings.report(isBare ? "WS0112" : "WS0111", diagnosed, ["spec", "rules"]);
}

/** Whether a ztunnel has nothing left to ask of all that the rule asks. */
function isHttpAlone(rule: Rule, context: L4Context): boolean {
  return l7Fields(rule, context).length > 0 && translateRule(rule, context)?.clauses.length === 0;
}

function bareDeny(found: string, isIstio: boolean): string {
  const effect = isIstio ? "no connection at all" : "every connection";
  return `ztunnel does not support HTTP attributes (found: ${found}), and without them nothing of this DENY is left: it denies ${effect}`;
}

function canHold(clause: L4Clause): boolean {
  return clause.some((match) => match !== EMPTY_MATCH);
}
