/** What a schema cannot say of an AuthorizationPolicy. */
import type { FieldPath } from "../object.ts";
import {
  accountProblem,
  addressProblem,
  portProblem,
  trustDomainProblem,
} from "./attribute-values.ts";
import { conditionProblems, type When } from "./authorization-conditions.ts";
import { pathTemplateProblem } from "./path-templates.ts";
import { each } from "./places.ts";
import { attachmentProblems } from "./policy-attachment.ts";
import { type Problems, problem, warning } from "./problem.ts";

type Lists = Readonly<Record<string, readonly string[] | undefined>>;

interface Rule {
  readonly from?: readonly { readonly source?: Lists }[];
  readonly to?: readonly { readonly operation?: Lists }[];
  readonly when?: readonly When[];
}

interface Spec {
  readonly action?: string;
  readonly provider?: { readonly name?: string };
  readonly rules?: readonly (Rule | null)[];
  readonly targetRef?: object;
  readonly targetRefs?: readonly object[];
}

/** Of a source; each has a twin with `not` before it. */
const withNot = (...names: string[]) =>
  names.flatMap((name) => [name, `not${name[0]!.toUpperCase()}${name.slice(1)}`]);
const IDENTITIES = withNot("principals", "namespaces");
const ACCOUNTS = withNot("serviceAccounts");
const DOMAINS = withNot("trustDomains");
const ADDRESSES = withNot("ipBlocks", "remoteIpBlocks");
const TOKENS = withNot("requestPrincipals");
const PORTS = withNot("ports");
const PATHS = withNot("paths");
const SOURCE = [...IDENTITIES, ...ACCOUNTS, ...DOMAINS, ...ADDRESSES, ...TOKENS];
/** What a connection has, and not only a request. */
const OF_CONNECTIONS = [...IDENTITIES, ...ADDRESSES, ...ACCOUNTS];
/** What an external authorizer is asked about without. */
const NOT_FOR_CUSTOM = [...IDENTITIES, ...ACCOUNTS, ...DOMAINS, ...TOKENS];
const CONDITIONS_NOT_FOR_CUSTOM =
  /^(source\.(namespace|serviceAccount|trustDomain|principal)$|request\.auth\.)/;
const ACCOUNTS_MAX = 16;

export function* authorizationPolicyProblems(policy: unknown): Problems {
  yield* attachmentProblems(policy);
  for (const { path, value } of each<Spec>(policy, "spec")) {
    yield* actionProblems(value, path);
    // What targets name is mostly known to be HTTP; Pods have any port.
    const isAtPods = value.targetRef === undefined && value.targetRefs === undefined;
    for (const [i, rule] of (value.rules ?? []).entries()) {
      const at = [...path, "rules", i];
      if (rule === null) {
        yield problem(at, "must not be null");
        continue;
      }
      yield* ruleProblems(rule, at, value.action ?? "ALLOW");
      if (value.action === "DENY" && isAtPods) yield* httpAloneProblems(rule, at);
    }
  }
}

function* actionProblems({ action, provider, rules }: Spec, path: FieldPath): Problems {
  const at = [...path, "provider"];
  const isCustom = action === "CUSTOM";
  if (isCustom && rules !== undefined && (provider?.name ?? "") === "") {
    yield problem([...at, "name"], "is required with action CUSTOM");
  }
  if (!isCustom && provider !== undefined) yield problem(at, "is for action CUSTOM only");
  if ((isCustom || action === "DENY") && rules === undefined) {
    const meant = "write one empty rule ({}) for all requests";
    yield problem([...path, "rules"], `are required with action ${action}: ${meant}`);
  }
}

function* ruleProblems(rule: Rule, path: FieldPath, action: string): Problems {
  const { from, to, when = [] } = rule;
  if (from?.length === 0) yield problem([...path, "from"], "must not be empty");
  if (to?.length === 0) yield problem([...path, "to"], "must not be empty");
  const sources = (from ?? []).map((one) => one?.source);
  const operations = (to ?? []).map((one) => one?.operation);
  for (const [i, source] of sources.entries()) {
    yield* sourceProblems(source, [...path, "from", i, "source"], action);
  }
  for (const [i, operation] of operations.entries()) {
    yield* operationProblems(operation, [...path, "to", i, "operation"]);
  }
  for (const [i, condition] of when.entries()) {
    const at = [...path, "when", i];
    yield* conditionProblems(condition, at);
    if (action === "CUSTOM" && CONDITIONS_NOT_FOR_CUSTOM.test(condition?.key ?? "")) {
      yield problem([...at, "key"], "is not for action CUSTOM");
    }
  }
}

function* httpAloneProblems({ from, to }: Rule, path: FieldPath): Problems {
  const sources = (from ?? []).map((one) => one?.source);
  const operations = (to ?? []).map((one) => one?.operation);
  const has = (lists: readonly (Lists | undefined)[], fields: readonly string[]) =>
    lists.some((one) => fields.some((field) => one?.[field] !== undefined));
  const isHttpAlone =
    to === undefined
      ? from !== undefined && !has(sources, OF_CONNECTIONS)
      : operations.some((one) => one !== undefined) && !has(operations, PORTS);
  if (!isHttpAlone) return;
  const effect = "on a port that is not HTTP this denies every connection: name the ports";
  yield warning(path, `asks about HTTP only, and ${effect}`);
}

function* sourceProblems(source: Lists | undefined, path: FieldPath, action: string): Problems {
  if (source === undefined || source === null || !hasAny(source)) {
    yield problem(path, "must name something");
    return;
  }
  const account = ACCOUNTS.find((field) => (source[field]?.length ?? 0) > 0);
  const other = IDENTITIES.find((field) => (source[field]?.length ?? 0) > 0);
  if (account !== undefined && other !== undefined) {
    const why = "an account has a namespace";
    yield problem([...path, account], `and ${other} exclude each other: ${why}`);
  }
  yield* emptyTextProblems(source, SOURCE, path);
  yield* eachText(source, ADDRESSES, path, addressProblem);
  yield* eachText(source, ACCOUNTS, path, accountProblem);
  yield* eachText(source, DOMAINS, path, trustDomainProblem);
  for (const field of ACCOUNTS) {
    if ((source[field]?.length ?? 0) <= ACCOUNTS_MAX) continue;
    yield problem([...path, field], `may have ${ACCOUNTS_MAX} values at most`);
  }
  if (action !== "CUSTOM") return;
  for (const field of NOT_FOR_CUSTOM) {
    if ((source[field]?.length ?? 0) === 0) continue;
    yield problem([...path, field], "is not for action CUSTOM");
  }
}

function* operationProblems(operation: Lists | undefined, path: FieldPath): Problems {
  if (operation === undefined || operation === null || !hasAny(operation)) {
    yield problem(path, "must name something");
    return;
  }
  yield* emptyTextProblems(operation, Object.keys(operation), path);
  yield* eachText(operation, PORTS, path, portProblem);
  yield* eachText(operation, PATHS, path, pathTemplateProblem);
}

function hasAny(lists: Lists): boolean {
  return Object.values(lists).some((list) => (list?.length ?? 0) > 0);
}

function* emptyTextProblems(lists: Lists, fields: readonly string[], path: FieldPath): Problems {
  yield* eachText(lists, fields, path, (text) => (text === "" ? "must not be empty" : undefined));
}

function* eachText(
  lists: Lists,
  fields: readonly string[],
  path: FieldPath,
  wrong: (text: string) => string | undefined,
): Problems {
  for (const field of fields) {
    for (const [i, text] of (lists[field] ?? []).entries()) {
      const message = wrong(text);
      if (message !== undefined) yield problem([...path, field, i], message);
    }
  }
}
