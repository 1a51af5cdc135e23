/**
 * AuthorizationPolicies with `targetRefs`: what waypoints enforce. Those without are the ztunnels'
 * (`l4-policies.ts`); no policy is both.
 */
import type { AuthorizationPolicy as ApiPolicy } from "../api/authorization-policy.ts";
import type { FieldPath, ParsedObject } from "../api/object.ts";
import type { PolicyProvider } from "../model/authorization-provider.ts";
import type { AuthorizationPolicy, PolicyAction, Rule } from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import { ANNOTATION } from "./labels.ts";
import { annotationsOf, keyOf, refOf } from "./object-names.ts";
import { type ProviderSurroundings, resolveProvider } from "./policy-provider.ts";
import { resolveTargets, type TargetingObject, type TargetSurroundings } from "./policy-targets.ts";
import { conditionField, type FieldContext, operationFields, sourceFields } from "./rule-fields.ts";

interface PolicyFacts {
  readonly policy: AuthorizationPolicy;
  /** Keys of the snapshot's `policies` under which it stands. */
  readonly targets: readonly string[];
}

export interface TranslatedPolicy {
  readonly facts: PolicyFacts | undefined;
  readonly status: ObjectStatus | undefined;
}

export function hasTargets(object: ParsedObject<TargetingObject>): boolean {
  const spec = object.value.spec ?? {};
  return spec.targetRef !== undefined || (spec.targetRefs ?? []).length > 0;
}

export function translatePolicy(
  object: ParsedObject<ApiPolicy>,
  near: TargetSurroundings & ProviderSurroundings,
): TranslatedPolicy {
  const findings = new Findings(object);
  if (object.value.spec?.selector !== undefined) {
    findings.report("WS0107", "selector has no effect beside targetRefs", ["spec", "selector"]);
  }
  const targets = resolveTargets(object, near, findings);
  const provider = resolveProvider(object, near, findings);
  const policy = translateRules(object, near.settings, findings, provider);
  const facts = { policy, targets };
  return { facts, status: findings.status() };
}

export function actionOf(object: ParsedObject<ApiPolicy>): PolicyAction {
  return object.value.spec?.action ?? "ALLOW";
}

export function isDryRun(object: ParsedObject<ApiPolicy>): boolean {
  return annotationsOf(object)[ANNOTATION.dryRun] === "true";
}

export function translateRules(
  object: ParsedObject<ApiPolicy>,
  settings: MeshSettings,
  findings: Findings,
  provider?: PolicyProvider,
): AuthorizationPolicy {
  const context: FieldContext = {
    action: actionOf(object),
    isIstio: settings.compatibility === "istio",
    findings,
    positionOf: (path) => object.positionOf(path),
  };
  const rules = (object.value.spec?.rules ?? []).map((rule, index): Rule => {
    const path: FieldPath = ["spec", "rules", index];
    return {
      index,
      from: (rule.from ?? []).map(({ source }, i) =>
        sourceFields(source ?? {}, [...path, "from", i, "source"], context),
      ),
      to: (rule.to ?? []).map(({ operation }, i) =>
        operationFields(operation ?? {}, [...path, "to", i, "operation"], context),
      ),
      when: (rule.when ?? []).map((condition, i) =>
        conditionField(condition, [...path, "when", i], context),
      ),
      position: object.positionOf(path),
    };
  });
  return {
    key: keyOf(object),
    action: context.action,
    provider,
    rules,
    isDryRun: isDryRun(object),
    source: refOf(object),
    position: object.position,
  };
}
