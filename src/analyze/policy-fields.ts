/**
 * Every list of values in a policy's rules, with its place: what the checks of single values walk.
 */
import type { AuthorizationRule } from "../api/authorization-policy.ts";
import type { FieldPath } from "../api/object.ts";
import type { Policy } from "./policy-reach.ts";

export interface ValueList {
  /** `principals`, `paths` …; of a condition its key. */
  readonly name: string;
  readonly isNegative: boolean;
  readonly values: readonly string[];
  readonly path: FieldPath;
}

export function* valueLists(policy: Policy): Generator<ValueList> {
  const rules = policy.value.spec?.rules ?? [];
  for (const [index, rule] of rules.entries()) yield* listsOfRule(rule, ["spec", "rules", index]);
}

function* listsOfRule(rule: AuthorizationRule, path: FieldPath): Generator<ValueList> {
  for (const [i, { source }] of (rule.from ?? []).entries()) {
    yield* listsOf(source ?? {}, [...path, "from", i, "source"]);
  }
  for (const [i, { operation }] of (rule.to ?? []).entries()) {
    yield* listsOf(operation ?? {}, [...path, "to", i, "operation"]);
  }
  for (const [i, { key, values, notValues }] of (rule.when ?? []).entries()) {
    const at = [...path, "when", i];
    yield { name: key, isNegative: false, values: values ?? [], path: [...at, "values"] };
    yield { name: key, isNegative: true, values: notValues ?? [], path: [...at, "notValues"] };
  }
}

function* listsOf(lists: object, path: FieldPath): Generator<ValueList> {
  for (const [field, values] of Object.entries(lists) as [string, readonly string[]][]) {
    const isNegative = /^not[A-Z]/.test(field);
    const name = isNegative ? field[3]!.toLowerCase() + field.slice(4) : field;
    yield { name, isNegative, values: values ?? [], path: [...path, field] };
  }
}
