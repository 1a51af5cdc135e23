/**
 * Waypoints that L4 policies lock out: behind a waypoint every client comes with the waypoint's
 * identity, so an ALLOW that names the clients alone, or a DENY of all but them, refuses all that
 * the waypoint forwards.
 *
 * It is not guessed: the decision of the proxies is asked, with the waypoint as the client. The
 * remedy lets the waypoint in and has the clients judged there, by the same rules, unless the
 * waypoint has policies of its own that do.
 */
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
import { copyAtWaypoint, type Policy } from "./policy-reach.ts";
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
  for (const workload of mesh.snapshot.workloads.values()) {
    if (!isMeshed(workload)) continue;
    const policies = enforced(workload, mesh);
    if (policies.length === 0) continue;
    for (const refusal of refusalsOf(workload, policies, mesh)) {
      const key = `${refusal.policy.key} ${refusal.waypoint.key}`;
      const known = refusals.get(key);
      if (known === undefined) refusals.set(key, refusal);
      else for (const service of refusal.services) known.services.add(service);
    }
  }
  return [...refusals.values()].flatMap((refusal) => report(refusal, mesh));
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
  const isDeny = policy.action === "DENY";
  const identity = waypoint.identities.map(principalOf).join(", ");
  const names = [...services].map((service) => service.source.name).sort();
  const what = `waypoint ${waypoint.key} (${identity}) is not let in, so nothing reaches ${names.join(", ")} through it`;
  if (!isDeny)
    return [finding(object, "WS0113", what, ["spec"], allowRemedy(object, refusal, mesh))];
  const index = ruleIndex(object, policy.rules[verdict.rule ?? 0]);
  const remedy = denyRemedy(object, index, refusal, mesh);
  // One that denies whoever comes means the waypoint too.
  if (remedy === undefined) return [];
  return [finding(object, "WS0113", what, ["spec", "rules", index], remedy)];
}

/** A ztunnel counts the rules that it got: some may have been left out. */
function ruleIndex(object: Policy, rule: L4Rule | undefined): number {
  const rules = object.value.spec?.rules ?? [];
  return rules.findIndex((_, index) => {
    const { line, column } = object.positionOf(["spec", "rules", index]);
    return line === rule?.position?.line && column === rule.position.column;
  });
}

function allowRemedy(object: Policy, refusal: Refusal, mesh: MeshView): Remedy {
  const { waypoint, workload, policy, allows } = refusal;
  const rule = { from: [{ source: { principals: waypoint.identities.map(principalOf) } }] };
  const letIn =
    policy.scope === "WORKLOAD_SELECTOR" && policy.rules.length > 0
      ? appendTo(object, ["spec", "rules"], rule)
      : newPolicy(`allow-${waypoint.name}`, workload.namespace, rule);
  return [letIn, ...copies(allows, refusal, mesh)];
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

/** All of the policies at the waypoint, or none: a part of them would be another policy. */
function copies(policies: readonly L4Policy[], refusal: Refusal, mesh: MeshView): Remedy {
  const services = [...refusal.services];
  const [{ action }] = [refusal.policy];
  const isJudged = services.some((service) =>
    policiesFor(mesh.snapshot, refusal.waypoint.key, service.key).some((set) =>
      set.policies.some((policy) => policy.action === action),
    ),
  );
  if (isJudged) return [];
  const made = policies
    .filter((policy) => policy.rules.length > 0)
    .map((policy) => {
      const object = mesh.object<Policy["value"]>("AuthorizationPolicy", policy.key);
      return object && copyAtWaypoint(object, services);
    });
  return made.every((edit) => edit !== undefined) ? made : [];
}

const EXCEPTIONS = {
  notPrincipals: (identity: string) => identity,
  notNamespaces: (identity: string) => identity.split("/")[2]!,
  notServiceAccounts: (identity: string) => `${identity.split("/")[2]}/${identity.split("/")[4]}`,
} as const;

/** The waypoint among those whom a DENY excepts; `undefined`: it excepts nobody. */
function denyRemedy(
  object: Policy,
  index: number,
  refusal: Refusal,
  mesh: MeshView,
): Remedy | undefined {
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
  if (edits.length === 0) return undefined;
  const isOwn = [...refusal.services].every((s) => s.namespace === namespaceOf(object));
  return [...edits, ...(isOwn ? copies([refusal.policy], refusal, mesh) : [])];
}
