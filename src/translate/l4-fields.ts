/**
 * The fields of a source, an operation or a condition as one match of a ztunnel.
 */
import type {
  Cidr,
  FieldMatch,
  FieldValue,
  L4Match,
  RuleField,
  StringMatch,
} from "../model/rule.ts";
import { EMPTY_MATCH } from "./l4-match.ts";

export interface L4Context {
  readonly action: "ALLOW" | "DENY";
  readonly isIstio: boolean;
  /** The policy's. */
  readonly namespace: string;
}

const L4_FIELDS: ReadonlySet<RuleField> = new Set<RuleField>([
  "principal",
  "namespace",
  "serviceAccount",
  "sourceIp",
  "destinationIp",
  "port",
]);

/** Whether a ztunnel can evaluate it. Istio's converter does not know service accounts in `when`. */
export function isL4Field(field: FieldMatch, isCondition: boolean, context: L4Context): boolean {
  if (context.isIstio && isCondition && field.field === "serviceAccount") return false;
  // Istio loses these without a word, and so neither drops nor reports anything for them.
  if (context.isIstio && field.field === "trustDomain") return true;
  return L4_FIELDS.has(field.field);
}

/**
 * "always": nothing is left to ask, and by D4 that holds for a DENY. "never": a value that cannot be
 * used stands where it would widen an ALLOW.
 */
export function translateFieldSet(
  fields: readonly FieldMatch[],
  context: L4Context,
): L4Match | "always" | "never" {
  let match: L4Match = EMPTY_MATCH;
  for (const field of fields) {
    if (!L4_FIELDS.has(field.field)) continue;
    const isCondition = field.path.startsWith("when");
    if (!isL4Field(field, isCondition, context)) continue;
    if (context.action === "ALLOW" && !context.isIstio && isBroken(field)) return "never";
    match = withField(match, field, context);
  }
  if (match !== EMPTY_MATCH) return match;
  // An ALLOW that asks nothing in a source or operation never holds at a ztunnel, as in Istio.
  return context.action === "ALLOW" && !context.isIstio ? "never" : "always";
}

function isBroken(field: FieldMatch): boolean {
  return (
    (field.hasValues && field.values.length === 0) ||
    (field.hasNotValues && field.notValues.length === 0)
  );
}

function withField(match: L4Match, field: FieldMatch, { namespace }: L4Context): L4Match {
  const { values, notValues } = field;
  if (values.length === 0 && notValues.length === 0) return match;
  switch (field.field) {
    case "principal":
      return { ...match, principals: strings(values), notPrincipals: strings(notValues) };
    case "namespace":
      return { ...match, namespaces: strings(values), notNamespaces: strings(notValues) };
    case "sourceIp":
      return { ...match, sourceIps: cidrs(values), notSourceIps: cidrs(notValues) };
    case "destinationIp":
      return { ...match, destinationIps: cidrs(values), notDestinationIps: cidrs(notValues) };
    case "port":
      return { ...match, destinationPorts: ports(values), notDestinationPorts: ports(notValues) };
    default:
      return {
        ...match,
        serviceAccounts: accounts(values, namespace),
        notServiceAccounts: accounts(notValues, namespace),
      };
  }
}

function strings(values: readonly FieldValue[]): readonly StringMatch[] {
  return values.flatMap((value) => (value.type === "string" ? [value.match] : []));
}

function cidrs(values: readonly FieldValue[]): readonly Cidr[] {
  return values.flatMap((value) => (value.type === "cidr" ? [value.cidr] : []));
}

function ports(values: readonly FieldValue[]): readonly number[] {
  return values.flatMap((value) => (value.type === "port" ? [value.port] : []));
}

/** `sa` is one of the policy's namespace. */
function accounts(values: readonly FieldValue[], namespace: string): L4Match["serviceAccounts"] {
  return values.map(({ text }) => {
    const slash = text.indexOf("/");
    if (slash < 0) return { namespace, serviceAccount: text };
    return { namespace: text.slice(0, slash), serviceAccount: text.slice(slash + 1) };
  });
}
