/**
 * Rules that contradict themselves: a list that its `not…` twin empties, principals of other
 * namespaces than the source's, conditions that cannot hold together or with `from` and `to`.
 *
 * What the author meant is open, so there is no remedy.
 */
import type { AuthorizationRule, Condition } from "../api/authorization-policy.ts";
import type { FieldPath } from "../api/object.ts";
import type { Diagnostic } from "../kit/diagnostic.ts";
import type { Policy } from "./policy-reach.ts";
import { finding } from "./remedy-text.ts";

type Say = (path: FieldPath, message: string) => void;
type Lists = Readonly<Record<string, readonly string[] | undefined>>;

export function contradictions(
  policy: Policy,
  rule: AuthorizationRule,
  index: number,
): readonly Diagnostic[] {
  const found: Diagnostic[] = [];
  const say: Say = (path, message) =>
    found.push(finding(policy, "WS0114", `${message}, so no request matches the rule`, path));
  const base: FieldPath = ["spec", "rules", index];
  (rule.from ?? []).forEach(({ source = {} }, i) => {
    const path = [...base, "from", i, "source"];
    withinPart(source as Lists, path, say);
    ofNamespaces(source as Lists, path, say);
  });
  (rule.to ?? []).forEach(({ operation = {} }, i) => {
    withinPart(operation as Lists, [...base, "to", i, "operation"], say);
  });
  (rule.when ?? []).forEach((condition, i) => {
    const earlier = (rule.when ?? []).slice(0, i);
    const message = ofCondition(condition, earlier, rule);
    if (message !== undefined) say([...base, "when", i], message);
  });
  return found;
}

function withinPart(lists: Lists, path: FieldPath, say: Say): void {
  for (const [field, values = []] of Object.entries(lists)) {
    const twin = `not${field[0]!.toUpperCase()}${field.slice(1)}`;
    if (areCovered(values, lists[twin])) {
      say([...path, twin], `all that ${field} asks for is kept out by ${twin}`);
    }
  }
}

/** Principals and service accounts say their namespace. */
function ofNamespaces(lists: Lists, path: FieldPath, say: Say): void {
  const { namespaces = [] } = lists;
  if (namespaces.length === 0) return;
  const homes = {
    principals: (text: string) => /(?:^|\/)ns\/([^/*]+)\//.exec(text)?.[1],
    serviceAccounts: (text: string) => /^([^/]+)\//.exec(text)?.[1],
  };
  for (const [field, homeOf] of Object.entries(homes)) {
    const values = lists[field] ?? [];
    const isApart = (text: string) => {
      const home = homeOf(text);
      return home !== undefined && !namespaces.some((pattern) => covers(pattern, home));
    };
    if (values.length > 0 && values.every(isApart)) {
      say([...path, "namespaces"], `none of ${field} is of one of namespaces`);
    }
  }
}

/** What in `from` and `to` looks at the same as a condition. */
const SAME: Readonly<Record<string, readonly ["from" | "to", string]>> = {
  "source.principal": ["from", "principals"],
  "source.namespace": ["from", "namespaces"],
  "request.auth.principal": ["from", "requestPrincipals"],
  "destination.port": ["to", "ports"],
};

function ofCondition(
  { key, values = [], notValues }: Condition,
  earlier: readonly Condition[],
  rule: AuthorizationRule,
): string | undefined {
  const twins = earlier.filter((other) => other.key === key);
  const isApart = isSingle(key) && twins.some((other) => areDisjoint(other.values, values));
  if (
    isApart ||
    areCovered(values, notValues) ||
    twins.some((o) => areCovered(values, o.notValues) || areCovered(o.values, notValues))
  ) {
    return `the conditions on ${key} contradict one another`;
  }
  const same = SAME[key];
  if (same === undefined) return undefined;
  const [part, field] = same;
  const parts =
    part === "from"
      ? (rule.from ?? []).map(({ source = {} }) => source as Lists)
      : (rule.to ?? []).map(({ operation = {} }) => operation as Lists);
  const isRefused = (lists: Lists) =>
    areDisjoint(lists[field], values) || areCovered(lists[field], notValues);
  if (parts.length === 0 || !parts.every(isRefused)) return undefined;
  return `the condition on ${key} and ${field} contradict one another`;
}

/** Claims may be lists, of which any element matches; and ranges of addresses overlap. */
function isSingle(key: string): boolean {
  return !/^request\.auth\.(claims|audiences)|ip$/.test(key);
}

/** Whether `not…` values take all that is asked for. */
function areCovered(wanted: readonly string[] = [], unwanted: readonly string[] = []): boolean {
  return wanted.length > 0 && wanted.every((value) => unwanted.some((u) => covers(u, value)));
}

/** Whether a pattern takes all that another one takes. */
function covers(pattern: string, other: string): boolean {
  if (pattern === other || pattern === "*") return true;
  if (pattern.startsWith("*")) return !other.endsWith("*") && other.endsWith(pattern.slice(1));
  return pattern.endsWith("*") && !other.startsWith("*") && other.startsWith(pattern.slice(0, -1));
}

/** Said of exact values alone. */
function areDisjoint(a: readonly string[] = [], b: readonly string[] = []): boolean {
  if (a.length === 0 || b.length === 0) return false;
  if ([...a, ...b].some((text) => text.includes("*"))) return false;
  return a.every((text) => !b.includes(text));
}
