/**
 * What each field of a rule looks at, and what is done with fields that cannot be evaluated.
 *
 * Both ways of evaluating, the compiled one and the traced one, take these answers from here.
 */
import type {
  FieldMatch,
  FieldValue,
  PolicyAction,
  RuleField,
  StringMatch,
} from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import { withAliases } from "./match/trust-domains.ts";

/** CUSTOM is read like DENY: what cannot be judged is shown to the provider. */
export function isRefusing(action: PolicyAction): boolean {
  return action === "DENY" || action === "CUSTOM";
}

/** Whether this version knows what the field looks at. */
export function isEvaluable(field: FieldMatch): boolean {
  return !field.field.startsWith("unsupported:");
}

/** Whether it looks at a request, and so cannot be asked of a TCP connection. */
export function isHttpOnly(field: FieldMatch): boolean {
  switch (field.field) {
    case "host":
    case "method":
    case "path":
    case "requestPrincipal":
      return true;
    default:
      return /^(header:|claim:|unsupported:request\.)/.test(field.field);
  }
}

/** The values of the type that the field compares; a translator should leave no others. */
export function usable(field: FieldMatch, values: readonly FieldValue[]): readonly FieldValue[] {
  const type = valueTypeOf(field.field);
  return values.filter((value) => value.type === type);
}

function valueTypeOf(field: RuleField): FieldValue["type"] {
  if (field === "port") return "port";
  return field.endsWith("Ip") ? "cidr" : "string";
}

/**
 * Whether the author wrote values of which none can be used: such a list never narrows a DENY and
 * never widens an ALLOW (D11), on either side.
 */
export function isUnusable(field: FieldMatch): boolean {
  return (
    (field.hasValues && usable(field, field.values).length === 0) ||
    (field.hasNotValues && usable(field, field.notValues).length === 0)
  );
}

/** The string matches among the values, ready to compare: with aliases, and names in full. */
export function stringMatches(
  field: FieldMatch,
  values: readonly FieldValue[],
  policyNamespace: string,
  settings: MeshSettings,
): readonly StringMatch[] {
  const matches = values.flatMap((value) => (value.type === "string" ? [value.match] : []));
  switch (field.field) {
    case "principal":
      return matches.flatMap((match) => withAliases(match, settings));
    case "serviceAccount":
      return matches.map((match) => qualified(match, policyNamespace));
    case "host":
      return matches.map((match) =>
        match.type === "presence" ? match : { ...match, value: match.value.toLowerCase() },
      );
    default:
      return matches;
  }
}

/** `sa` is a service account of the policy's namespace. */
function qualified(match: StringMatch, namespace: string): StringMatch {
  if (match.type !== "exact" || match.value.includes("/")) return match;
  return { type: "exact", value: `${namespace}/${match.value}` };
}
