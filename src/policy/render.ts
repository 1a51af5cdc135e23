/**
 * A traced decision as text for people: the answer first, then why, each line with the place in the
 * file that it comes from.
 *
 *     DENIED 403 by default: no ALLOW policy matched
 *       default/view-only rule 0 (policy.yaml:12:7): method: wanted GET, saw POST
 *
 *     ALLOWED by default/view-only rule 0 (policy.yaml:12:7)
 *     ROUTE by HTTPRoute default/reviews rule 0 (routes.yaml:9:5) → reviews-v1:80 (weight 9 of 10)
 */
import type { TracedDecision } from "./explain.ts";
import { place, routeLines } from "./render-routes.ts";
import type { AlternativeTrace, ClauseTrace, FieldTrace, PolicyTrace, RuleTrace } from "./trace.ts";

/** Lists longer than this are cut short, and say so. */
const VALUES_SHOWN = 4;

/** The decision as lines for a terminal, without colours. */
export function renderDecision(decision: TracedDecision): string {
  const { trace } = decision;
  const lines = [headline(decision), ...trace.notes.map((note) => `  ${note}`)];
  lines.push(...reasons(decision), ...asides(trace.policies));
  if (trace.routes) lines.push(...routeLines(trace.routes, decision.isHttp));
  return lines.join("\n");
}

function headline({ verdict, status, trace }: TracedDecision): string {
  const deciding = trace.policies.find((policy) => policy.isDeciding);
  const rule = verdict.rule === undefined ? "" : ` rule ${verdict.rule}`;
  const named = `${verdict.policy}${rule}${place(verdict.position)}`;
  const denied = status === 403 ? "DENIED 403" : "DENIED";
  switch (verdict.because) {
    case "allowed":
      return `ALLOWED by ${named}`;
    case "noAllowPolicies":
      return "ALLOWED: no ALLOW policy applies, and no other denies";
    case "noAllowMatched":
      return `${denied} by default: no ALLOW policy matched`;
    case "denied":
      return deciding ? `${denied} by ${deciding.action} policy ${named}` : denied;
  }
}

/** Why: of a default deny what failed in each ALLOW rule, else what held in the deciding rule. */
function reasons({ verdict, trace }: TracedDecision): readonly string[] {
  if (verdict.because === "noAllowMatched") {
    const allow = trace.policies.filter((policy) => policy.action === "ALLOW" && !policy.isDryRun);
    return allow.flatMap(failedRules);
  }
  return trace.policies.filter((policy) => policy.isDeciding).flatMap(whatHeld);
}

function failedRules(policy: PolicyTrace): readonly string[] {
  if (policy.rules.length === 0) {
    return [`  ${policy.policy}${place(policy.position)}: ${policy.note}`];
  }
  return policy.rules.map((rule) => {
    const where = place(rule.position ?? policy.position);
    return `  ${policy.policy} rule ${rule.index}${where}: ${firstFailure(rule)}`;
  });
}

function firstFailure(rule: RuleTrace): string {
  if (rule.note) return rule.note;
  const clause = rule.clauses.find(({ isMatched }) => !isMatched);
  return clause ? failedClause(clause) : "it matches";
}

function failedClause({ name, alternatives }: ClauseTrace): string {
  const failures = alternatives.map(failedField);
  if (failures.length === 1) return failures[0]!;
  return `none of ${failures.length} alternatives in ${name}: ${[...new Set(failures)].join("; ")}`;
}

function failedField({ fields }: AlternativeTrace): string {
  const field = fields.find(({ isMatched }) => !isMatched);
  return field ? fieldText(field) : "it matches";
}

function whatHeld(policy: PolicyTrace): readonly string[] {
  const rule = policy.rules.find(({ index }) => index === policy.matchedRule);
  const fields = (rule?.clauses ?? []).flatMap((clause) => {
    const held = clause.alternatives.find(({ isMatched }) => isMatched);
    return held?.fields ?? [];
  });
  const lines = fields.map((field) => `  ${fieldText(field)}${place(field.position)}`);
  if (rule && lines.length === 0) lines.push("  the rule asks for nothing, so it always matches");
  return policy.note ? [...lines, `  ${policy.note}`] : lines;
}

/** `method: wanted GET, saw POST`. */
function fieldText({ label, wanted, unwanted, seen, note }: FieldTrace): string {
  const parts = [];
  if (wanted.length > 0) parts.push(`wanted ${listed(wanted)}`);
  if (unwanted.length > 0) parts.push(`not ${listed(unwanted)}`);
  if (note === undefined || seen !== undefined) parts.push(`saw ${seen ?? "none"}`);
  if (note !== undefined) parts.push(note);
  return `${label}: ${parts.join(", ")}`;
}

function listed(values: readonly string[]): string {
  const shown = values.slice(0, VALUES_SHOWN).join(" or ");
  const more = values.length - VALUES_SHOWN;
  return more > 0 ? `${shown} or ${more} more` : shown;
}

/** What decided nothing, but would have: dry runs and audits that matched. */
function asides(policies: readonly PolicyTrace[]): readonly string[] {
  return policies.flatMap((policy) => {
    if (!policy.isMatched || (!policy.isDryRun && policy.action !== "AUDIT")) return [];
    const verb = policy.isDryRun ? `dry run, would ${policy.action}` : "audited";
    return [`  ${verb}: ${policy.policy} rule ${policy.matchedRule}${place(policy.position)}`];
  });
}
