/**
 * What a control plane may do in a cluster, and why: one table, from which its roles are made
 * (`waystone install`, the chart) and the reference page that lists them.
 *
 * It holds what the code asks for and nothing else. A kind is read because it is in WATCHED_KINDS;
 * whatever else is asked for stands below, with the file that asks.
 */

import { KINDS, type Kind, type KindName } from "../../api/kinds.ts";
import { WATCHED_KINDS } from "../source/kubernetes/watched-kinds.ts";
import type { ClusterMode } from "./cluster-mode.ts";
import { ROTATION_SECRET } from "./rotation-record.ts";

/** As RBAC has it. */
export interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

/** Where a permission holds. */
export type PermissionScope = "cluster" | "root" | "own";

export interface Permission {
  readonly scope: PermissionScope;
  readonly rule: PolicyRule;
  /** For the reference page; no full stop. */
  readonly reason: string;
}

type ModeName = ClusterMode["name"];

/** The namespace of the mesh's settings and of its CA. */
export const ROOT_NAMESPACE = "istio-system";
/** The configuration of the webhook, which the control plane gives its CA to. */
export const WEBHOOK_NAME = "waystone-validator";

const GATEWAY_API = "gateway.networking.k8s.io";
const STATUSES: readonly (readonly [group: string, resources: string, modes: string])[] = [
  [
    GATEWAY_API,
    "gatewayclasses gateways grpcroutes httproutes tcproutes tlsroutes",
    "under beside",
  ],
  ["security.istio.io", "authorizationpolicies", "under"],
  ["networking.istio.io", "serviceentries", "under"],
  ["", "services", "under"],
];

const OWNED = ["get", "list", "create", "patch"] as const;

/** What a control plane of the mode asks the API server for, in the order of the page. */
export function permissionsOf(mode: ModeName): readonly Permission[] {
  return [...readPermissions(), ...statusPermissions(mode), ...OBJECTS, ...tokens(), ...OWN[mode]];
}

/** The rules of one scope: the rules of a role. */
export function rulesOf(mode: ModeName, scope: PermissionScope): readonly PolicyRule[] {
  return permissionsOf(mode).flatMap((one) => (one.scope === scope ? [one.rule] : []));
}

/** Kinds are read everywhere, but ConfigMaps: whoever may list those reads all of them. */
function readPermissions(): readonly Permission[] {
  const everywhere = new Map<string, Set<string>>();
  for (const name of WATCHED_KINDS) {
    if (name === "ConfigMap") continue;
    const { group }: Kind = KINDS[name];
    const plurals = everywhere.get(group) ?? new Set();
    everywhere.set(group, plurals.add(pluralOf(name)));
  }
  const watched = [...everywhere].map(
    ([group, plurals]): Permission =>
      permission("cluster", group, [...plurals].sort(), ["list", "watch"], "what the mesh is of"),
  );
  const settings = permission(
    "root",
    "",
    [pluralOf("ConfigMap")],
    ["list", "watch"],
    "the mesh's settings, and what is the same for all waypoints",
  );
  return [...watched, settings];
}

function statusPermissions(mode: ModeName): readonly Permission[] {
  return STATUSES.filter(([, , modes]) => modes.split(" ").includes(mode)).map(
    ([group, resources]) => {
      const statuses = resources.split(" ").map((resource) => `${resource}/status`);
      return permission("cluster", group, statuses, ["patch"], "conditions, addresses, parents");
    },
  );
}

/** Of waypoints, by server-side apply; only what scales one may come and go. */
const OBJECTS: readonly Permission[] = [
  permission("cluster", "", ["serviceaccounts", "services"], OWNED, "waypoints"),
  permission("cluster", "apps", ["deployments"], OWNED, "waypoints"),
  permission(
    "cluster",
    "autoscaling",
    ["horizontalpodautoscalers"],
    [...OWNED, "delete"],
    "waypoints whose overlay has one",
  ),
  permission(
    "cluster",
    "policy",
    ["poddisruptionbudgets"],
    [...OWNED, "delete"],
    "waypoints whose overlay has one",
  ),
  permission("cluster", "", ["configmaps"], ["get"], "the `parametersRef` of a Gateway"),
];

function tokens(): readonly Permission[] {
  return [
    permission(
      "cluster",
      "authentication.k8s.io",
      ["tokenreviews"],
      ["create"],
      "who a proxy is that connects",
    ),
    permission(
      "own",
      "coordination.k8s.io",
      ["leases"],
      ["get", "update"],
      "which control plane writes",
      ["waystone-leader"],
    ),
    // RBAC cannot hold a `create` to a name: the object has none yet.
    permission("own", "coordination.k8s.io", ["leases"], ["create"], "the first of them"),
  ];
}

const OWN: Readonly<Record<ModeName, readonly Permission[]>> = {
  under: [
    permission(
      "cluster",
      "",
      ["configmaps"],
      // Applied, so that the server knows the name when it creates one, too.
      ["create", "patch"],
      "the mesh's roots, in every namespace",
      ["istio-ca-root-cert"],
    ),
    permission("root", "", ["secrets"], ["get"], "the key of the mesh's CA", [
      "cacerts",
      "istio-ca-secret",
    ]),
    permission("root", "", ["secrets"], ["get", "update"], "how far a change of the CA is", [
      ROTATION_SECRET,
    ]),
    permission("root", "", ["secrets"], ["create"], "a CA where there is none, and the one above"),
    permission(
      "cluster",
      "admissionregistration.k8s.io",
      ["validatingwebhookconfigurations"],
      ["get", "patch"],
      "the roots by which the API server knows the webhook",
      [WEBHOOK_NAME],
    ),
  ],
  beside: [],
};

function permission(
  scope: PermissionScope,
  group: string,
  resources: readonly string[],
  verbs: readonly string[],
  reason: string,
  resourceNames?: readonly string[],
): Permission {
  const names = resourceNames === undefined ? {} : { resourceNames };
  return { scope, rule: { apiGroups: [group], resources, ...names, verbs }, reason };
}

/** As Kubernetes makes them of these kinds. */
export function pluralOf(kind: KindName): string {
  const { spelling = kind }: Kind = KINDS[kind];
  const name = spelling.toLowerCase();
  if (/[^aeiou]y$/.test(name)) return `${name.slice(0, -1)}ies`;
  return name.endsWith("s") ? `${name}es` : `${name}s`;
}
