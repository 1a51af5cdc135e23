/**
 * Waypoints that L4 policies lock out: behind a waypoint every client comes with the waypoint's
 * identity, so an ALLOW that names the clients alone, or a DENY of all but them, refuses all that
 * the waypoint forwards.
 *
 * It is not guessed: the decision of the proxies is asked, with the waypoint as the client. The
 * remedy lets the waypoint in and has the clients judged there, by the same rules, unless the
 * waypoint has policies of its own that do.
 */
import type { AuthorizationRule } from "../api/authorization-policy.ts";
import type { FieldPath } from "../api/object.ts";
import type { Diagnostic, Edit, Remedy } from "../kit/diagnostic.ts";
import { principalOf } from "../model/identity.ts";
import type { L4Policy, L4Rule } from "../model/rule.ts";
import type { Service } from "../model/service.ts";
import type { Waypoint } from "../model/waypoint.ts";
import type { Workload } from "../model/workload.ts";
import { decide } from "../policy/decide.ts";
import { l4PoliciesFor, policiesFor } from "../policy/policy-sets.ts";
import type { Verdict } from "../policy/verdict.ts";
import { namespaceOf } from "../translate/object-names.ts";
import { isMeshed, labelOfKey, type MeshView } from "./mesh-view.ts";
import { copyAtWaypoint, movedToWaypoint, type Policy } from "./policy-reach.ts";
import { appendTo, finding } from "./remedy-text.ts";

/** What one policy, or set of them, keeps a waypoint from. */
interface Refusal {
  readonly waypoint: Waypoint;
  readonly workload: Workload;
  readonly services: Set<Service>;
  /** The policy to change first, and all ALLOW policies that apply beside it. */
  readonly policy: L4Policy;
  readonly allows: readonly L4Policy[];
  readonly verdict: Verdict;
}

export function lockedOut(mesh: MeshView): readonly Diagnostic[] {
  const refusals = new Map<string, Refusal>();
  const seen = new Set<string>();
  for (const workload of mesh.snapshot.workloads.values()) {
    if (!isMeshed(workload)) continue;
    const policies = enforced(workload, mesh);
    if (policies.length === 0) continue;
    const alike = likeness(workload);
    if (seen.has(alike)) continue;
    seen.add(alike);
    for (const refusal of refusalsOf(workload, policies, mesh)) {
      const key = `${refusal.policy.key} ${refusal.waypoint.key}`;
      const known = refusals.get(key);
      if (known === undefined) refusals.set(key, refusal);
      else for (const service of refusal.services) known.services.add(service);
    }
  }
  return [...refusals.values()].flatMap((refusal) => report(refusal, mesh));
}

/** Replicas fare alike: one of them is asked. */
function likeness({ namespace, services, authorizationPolicies }: Workload): string {
  const behind = [...services].map(([key, ports]) => `${key} ${[...ports.values()].join()}`);
  return JSON.stringify([namespace, behind, authorizationPolicies]);
}

/** Those that people wrote, the most particular last. */
function enforced(workload: Workload, mesh: MeshView): readonly L4Policy[] {
  const all = l4PoliciesFor(mesh.snapshot, workload).flatMap(({ policies }) => policies);
  return all.filter((policy) => policy.because === undefined && !policy.isDryRun);
}

function refusalsOf(
  workload: Workload,
  policies: readonly L4Policy[],
  mesh: MeshView,
): readonly Refusal[] {
  const found: Refusal[] = [];
  for (const [key, ports] of workload.services) {
    const service = mesh.snapshot.services.get(key);
    if (service?.waypoint?.state !== "bound" || service.addresses.length === 0) continue;
    const waypoint = mesh.snapshot.waypoints.get(service.waypoint.waypoint);
    if (waypoint === undefined) continue;
    for (const port of ports.values()) {
      const verdict = refusalOf(waypoint, workload, port, mesh);
      if (verdict === undefined) continue;
      const allows = policies.filter(({ action }) => action === "ALLOW");
      const policy = policies.find((p) => p.key === verdict.policy) ?? allows.at(-1);
      if (policy === undefined) continue;
      found.push({ waypoint, workload, services: new Set([service]), policy, allows, verdict });
      break;
    }
  }
  return found;
}

/** The verdict of the workload's ztunnel, when it is no. */
function refusalOf(
  waypoint: Waypoint,
  workload: Workload,
  port: number,
  mesh: MeshView,
): Verdict | undefined {
  const instance = [...(mesh.snapshot.endpoints.get(waypoint.service) ?? [])][0];
  for (const sourceIdentity of waypoint.identities) {
    const facts = {
      sourceIdentity,
      sourceAddress: instance?.address ?? "",
      destinationAddress: workload.addresses[0] ?? "",
      destinationPort: port,
    };
    const hop = { proxy: "ztunnel", workload: workload.uid } as const;
    const { verdict } = decide(mesh.snapshot, hop, facts, 0);
    if (!verdict.isAllowed) return verdict;
  }
  return undefined;
}

function report(refusal: Refusal, mesh: MeshView): readonly Diagnostic[] {
  const { policy, waypoint, verdict, services } = refusal;
  const object = mesh.object<Policy["value"]>("AuthorizationPolicy", policy.key);
  if (object === undefined) return [];
  const identity = waypoint.identities.map(principalOf).join(", ");
  const names = [...services].map((service) => service.source.name).sort();
  const what = `waypoint ${waypoint.key} (${identity}) is not let in, so nothing reaches ${names.join(", ")} through it`;
  if (policy.action === "ALLOW") {
    if (isLockdown(refusal, mesh)) return [];
    return [finding(object, "WS0113", what, ["spec"], allowRemedy(object, refusal, mesh))];
  }
  const index = ruleIndex(object, policy.rules[verdict.rule ?? 0]);
  const excepted = exceptions(object, index, refusal);
  // One that denies whoever comes means the waypoint too.
  if (excepted === undefined) return [];
  const copy = copyAtWaypoint(object, [...services], mesh);
  const isWhole = copy !== undefined && isOwn(object, services);
  const remedy = isWhole ? [...excepted, copy] : movedToWaypoint(object, mesh);
  return [finding(object, "WS0113", what, ["spec", "rules", index], remedy)];
}

/** Nobody is let in, neither here nor at the waypoint: as it was meant. */
function isLockdown(refusal: Refusal, mesh: MeshView): boolean {
  const isEmpty = ({ key }: L4Policy) => rulesOf(key, mesh).length === 0;
  return refusal.allows.every(isEmpty) && unjudged(refusal, mesh).length === refusal.services.size;
}

function rulesOf(key: string, mesh: MeshView): readonly AuthorizationRule[] {
  return mesh.object<Policy["value"]>("AuthorizationPolicy", key)?.value.spec?.rules ?? [];
}

/** A ztunnel counts the rules that it got: some may have been left out. */
function ruleIndex(object: Policy, rule: L4Rule | undefined): number {
  const rules = object.value.spec?.rules ?? [];
  return rules.findIndex((_, index) => {
    const { line, column } = object.positionOf(["spec", "rules", index]);
    return line === rule?.position?.line && column === rule.position.column;
  });
}

/**
 * Lets the waypoint in where its clients are judged by the same rules, or by its own; else the
 * policy goes to the waypoint, for otherwise everybody would come in through it.
 */
function allowRemedy(object: Policy, refusal: Refusal, mesh: MeshView): Remedy | undefined {
  const { waypoint, workload, policy } = refusal;
  const made = copies(refusal, mesh);
  if (made === undefined) return movedToWaypoint(object, mesh);
  const rule = { from: [{ source: { principals: waypoint.identities.map(principalOf) } }] };
  const { namespace } = workload;
  const hasRules = (object.value.spec?.rules ?? []).length > 0;
  if (policy.scope === "WORKLOAD_SELECTOR" && hasRules) {
    return [appendTo(object, ["spec", "rules"], rule), ...made];
  }
  const name = mesh.freeName("AuthorizationPolicy", namespace, `allow-${waypoint.name}`);
  return [newPolicy(name, namespace, rule), ...made];
}

function newPolicy(name: string, namespace: string, rule: object): Edit {
  const value = {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name, namespace },
    spec: { rules: [rule] },
  };
  return { op: "create", object: labelOfKey("AuthorizationPolicy", namespace, name), value };
}

/**
 * The ALLOW policies once more, for the Services whose waypoint has none; `undefined`: they cannot
 * all be said there, and a part of them would be another policy.
 */
function copies(refusal: Refusal, mesh: MeshView): Remedy | undefined {
  const services = unjudged(refusal, mesh);
  if (services.length === 0) return [];
  const edits: Edit[] = [];
  for (const { key } of refusal.allows) {
    if (rulesOf(key, mesh).length === 0) continue;
    const object = mesh.object<Policy["value"]>("AuthorizationPolicy", key);
    const edit = object && copyAtWaypoint(object, services, mesh);
    if (edit === undefined) return undefined;
    edits.push(edit);
  }
  return edits.length > 0 ? edits : undefined;
}

/** Services for which no ALLOW policy stands at the waypoint. */
function unjudged({ services, waypoint }: Refusal, mesh: MeshView): readonly Service[] {
  return [...services].filter((service) =>
    policiesFor(mesh.snapshot, waypoint.key, service.key).every((set) =>
      set.policies.every((policy) => policy.action !== "ALLOW" || policy.isDryRun),
    ),
  );
}

function isOwn(object: Policy, services: ReadonlySet<Service>): boolean {
  return [...services].every((service) => service.namespace === namespaceOf(object));
}

const EXCEPTIONS = {
  notPrincipals: (identity: string) => identity,
  notNamespaces: (identity: string) => identity.split("/")[2]!,
  notServiceAccounts: (identity: string) => `${identity.split("/")[2]}/${identity.split("/")[4]}`,
} as const;

/** The waypoint among those whom a DENY excepts; `undefined`: it excepts nobody. */
function exceptions(object: Policy, index: number, refusal: Refusal): Remedy | undefined {
  const rule = (object.value.spec?.rules ?? [])[index];
  const identities = refusal.waypoint.identities.map(principalOf);
  const edits = (rule?.from ?? []).flatMap(({ source = {} }, i) =>
    (Object.keys(EXCEPTIONS) as (keyof typeof EXCEPTIONS)[]).flatMap((field) => {
      if (source[field] === undefined) return [];
      const path: FieldPath = ["spec", "rules", index, "from", i, "source", field];
      const values = new Set(identities.map((identity) => EXCEPTIONS[field](identity)));
      const missing = [...values].filter((value) => !source[field]!.includes(value));
      return missing.map((value) => appendTo(object, path, value));
    }),
  );
  return edits.length === 0 ? undefined : edits;
}
