/**
 * Sources, operations and conditions of an AuthorizationPolicy as `FieldMatch`es, one for each field.
 *
 * A value that cannot be used is left out and reported, and the author's having written one is kept
 * (`hasValues`), so that it never narrows a DENY and never widens an ALLOW (D11). In an ALLOW one
 * unusable value among `not…` empties that list, since what it was to keep out cannot be kept out.
 */
import type { Condition, Operation, Source } from "../api/authorization-policy.ts";
import { type FieldPath, formatFieldPath } from "../api/object.ts";
import type { SourcePosition } from "../model/object-ref.ts";
import type {
  FieldMatch,
  FieldValue,
  PolicyAction,
  RuleField,
  StringMatch,
} from "../model/rule.ts";
import { parseCidr } from "./cidr.ts";
import type { Findings } from "./findings.ts";

export interface FieldContext {
  readonly action: PolicyAction;
  /** `compatibility: istio`: unusable values are left out, and that is all. */
  readonly isIstio: boolean;
  readonly findings: Findings;
  positionOf(path: FieldPath): SourcePosition;
}

type Texts = readonly string[] | undefined;

interface FieldSpec {
  readonly field: RuleField;
  /** As the author has them, with the steps to them. */
  readonly values: Texts;
  readonly notValues: Texts;
  readonly valuesPath: FieldPath;
  readonly notValuesPath: FieldPath;
}

const SOURCE_FIELDS = [
  ["principals", "notPrincipals", "principal"],
  ["requestPrincipals", "notRequestPrincipals", "requestPrincipal"],
  ["namespaces", "notNamespaces", "namespace"],
  ["serviceAccounts", "notServiceAccounts", "serviceAccount"],
  ["ipBlocks", "notIpBlocks", "sourceIp"],
  ["remoteIpBlocks", "notRemoteIpBlocks", "remoteIp"],
  ["trustDomains", "notTrustDomains", "trustDomain"],
] as const;

const OPERATION_FIELDS = [
  ["hosts", "notHosts", "host"],
  ["ports", "notPorts", "port"],
  ["methods", "notMethods", "method"],
  ["paths", "notPaths", "path"],
] as const;

export function sourceFields(
  source: Source,
  path: FieldPath,
  context: FieldContext,
): readonly FieldMatch[] {
  return pairedFields(source as TextLists, SOURCE_FIELDS, path, context);
}

export function operationFields(
  operation: Operation,
  path: FieldPath,
  context: FieldContext,
): readonly FieldMatch[] {
  return pairedFields(operation as TextLists, OPERATION_FIELDS, path, context);
}

type TextLists = Readonly<Record<string, Texts>>;

function pairedFields(
  lists: TextLists,
  table: readonly (readonly [string, string, RuleField])[],
  path: FieldPath,
  context: FieldContext,
): readonly FieldMatch[] {
  return table.flatMap(([name, notName, field]) => {
    const [values, notValues] = [lists[name], lists[notName]];
    if (!isGiven(values) && !isGiven(notValues)) return [];
    const spec = {
      field,
      values,
      notValues,
      valuesPath: [...path, name],
      notValuesPath: [...path, notName],
    };
    return [translateField(spec, context)];
  });
}

export function conditionField(
  { key, values, notValues }: Condition,
  path: FieldPath,
  context: FieldContext,
): FieldMatch {
  const valuesPath = [...path, "values"];
  const notValuesPath = [...path, "notValues"];
  const field = fieldOfKey(key);
  return {
    ...translateField({ field, values, notValues, valuesPath, notValuesPath }, context),
    path: formatFieldPath(path.slice(3)),
    position: context.positionOf(path),
  };
}

const KEYS: Readonly<Record<string, RuleField>> = {
  "source.ip": "sourceIp",
  "remote.ip": "remoteIp",
  "source.namespace": "namespace",
  "source.serviceAccount": "serviceAccount",
  "source.principal": "principal",
  "source.trustDomain": "trustDomain",
  "request.auth.principal": "requestPrincipal",
  "request.auth.audiences": "claim:aud",
  "request.auth.presenter": "claim:azp",
  "destination.ip": "destinationIp",
  "destination.port": "port",
  "connection.sni": "sni",
};

function fieldOfKey(key: string): RuleField {
  const known = KEYS[key];
  if (known !== undefined) return known;
  const claim = /^request\.auth\.claims\[(.+)\]$/.exec(key);
  if (claim) return `claim:${claim[1]!}`;
  const header = /^request\.headers\[(.+)\]$/.exec(key);
  return header ? `header:${header[1]!.toLowerCase()}` : `unsupported:${key}`;
}

function isGiven(list: Texts): list is readonly string[] {
  return list !== undefined && list.length > 0;
}

function translateField(spec: FieldSpec, context: FieldContext): FieldMatch {
  const { field, valuesPath, notValuesPath } = spec;
  const path = isGiven(spec.values) ? valuesPath : notValuesPath;
  const values = translateValues(field, spec.values ?? [], valuesPath, context);
  const notValues = translateValues(field, spec.notValues ?? [], notValuesPath, context);
  const isStrict = context.action === "ALLOW" && !context.isIstio;
  const isBroken = isStrict && notValues.length < (spec.notValues ?? []).length;
  return {
    field,
    values,
    notValues: isBroken ? [] : notValues,
    hasValues: isGiven(spec.values),
    hasNotValues: isGiven(spec.notValues),
    path: formatFieldPath(path.slice(3)),
    position: context.positionOf(path),
  };
}

function translateValues(
  field: RuleField,
  texts: readonly string[],
  path: FieldPath,
  { findings }: FieldContext,
): readonly FieldValue[] {
  return texts.flatMap((text, index) => {
    const value = translateValue(field, text);
    if (typeof value !== "string") return [value];
    findings.report("WS0102", `"${text}" ${value}; it is left out`, [...path, index]);
    return [];
  });
}

/** The value, or what is wrong with it. */
function translateValue(field: RuleField, text: string): FieldValue | string {
  switch (field) {
    case "port": {
      const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
      if (port < 1 || port > 65535) return "is no port number";
      return { type: "port", port, text };
    }
    case "sourceIp":
    case "remoteIp":
    case "destinationIp": {
      const cidr = parseCidr(text);
      return cidr === undefined ? "is no IP address or range" : { type: "cidr", cidr, text };
    }
    case "serviceAccount":
      if (!/^[^/*]+(\/[^/*]+)?$/.test(text)) return "is no service account (<sa> or <ns>/<sa>)";
      return { type: "string", match: { type: "exact", value: text }, text };
    case "path":
      if (isTemplate(text)) return templateValue(text);
  }
  if (text === "") return "is empty";
  return { type: "string", match: parseStringMatch(text), text };
}

function isTemplate(text: string): boolean {
  return text.includes("{*}") || text.includes("{**}");
}

/** An operator is a whole segment; `{**}` is the last of them; there is no other wildcard beside it. */
function templateValue(text: string): FieldValue | string {
  const segments = text.split("/");
  const isOperator = (s: string) => s === "{*}" || s === "{**}";
  if (segments.some((s) => !isOperator(s) && /[*{}]/.test(s))) {
    return "is no path template: {*} and {**} stand for whole segments";
  }
  const glob = segments.indexOf("{**}");
  if (glob >= 0 && segments.slice(glob + 1).some(isOperator)) {
    return "is no path template: {**} is the last operator";
  }
  return { type: "string", match: { type: "template", value: text }, text };
}

/** `*` presence, `*x` suffix, `x*` prefix, else exact. */
function parseStringMatch(text: string): StringMatch {
  if (text === "*") return { type: "presence" };
  if (text.startsWith("*")) return { type: "suffix", value: text.slice(1) };
  if (text.endsWith("*")) return { type: "prefix", value: text.slice(0, -1) };
  return { type: "exact", value: text };
}
