/**
 * Who the control plane is in the cluster, and what it may do: the table of permissions as roles.
 */
import {
  type PermissionScope,
  ROOT_NAMESPACE,
  rulesOf,
} from "../../control/cluster/permissions.ts";
import { labels, MODE_NAME, metadata, NAME } from "./chart-names.ts";
import {
  BESIDE,
  type ChartNode,
  type ChartObject,
  NAMESPACE,
  text,
  UNDER,
  when,
} from "./chart-node.ts";

const GROUP = "rbac.authorization.k8s.io";
const API_VERSION = `${GROUP}/v1`;
const SUBJECTS: ChartNode = [{ kind: "ServiceAccount", name: NAME, namespace: text`${NAMESPACE}` }];

export function accessObjects(): readonly ChartObject[] {
  return [
    {
      file: "service-account.yaml",
      object: {
        apiVersion: "v1",
        kind: "ServiceAccount",
        metadata: metadata(NAME),
        // Its Pods ask for the token; others that run as it need none.
        automountServiceAccountToken: false,
      },
    },
    ...role("ClusterRole", "cluster", { name: MODE_NAME, labels: labels() }),
    ...role("Role", "root", { name: MODE_NAME, namespace: ROOT_NAMESPACE, labels: labels() }),
    ...role("Role", "own", metadata(`${NAME}-leader`)),
  ];
}

function role(
  kind: "ClusterRole" | "Role",
  scope: PermissionScope,
  named: { readonly [key: string]: ChartNode },
): readonly ChartObject[] {
  const file = { cluster: "cluster-role", root: "root-role", own: "leader-role" }[scope];
  const name = named.name!;
  return [
    {
      file: `${file}.yaml`,
      object: { apiVersion: API_VERSION, kind, metadata: named, rules: rulesByMode(scope) },
    },
    {
      file: `${file}.yaml`,
      object: {
        apiVersion: API_VERSION,
        kind: `${kind}Binding`,
        metadata: named,
        roleRef: { apiGroup: GROUP, kind, name },
        subjects: SUBJECTS,
      },
    },
  ];
}

/** Those of both modes first. */
function rulesByMode(scope: PermissionScope): ChartNode {
  const [under, beside] = [rulesOf("under", scope), rulesOf("beside", scope)];
  const has = (rules: readonly unknown[], rule: unknown) =>
    rules.some((one) => JSON.stringify(one) === JSON.stringify(rule));
  const node = (rule: (typeof under)[number]): ChartNode => ({ ...rule });
  return [
    ...under.filter((rule) => has(beside, rule)).map(node),
    ...under.filter((rule) => !has(beside, rule)).map((rule) => when(UNDER, node(rule))),
    ...beside.filter((rule) => !has(under, rule)).map((rule) => when(BESIDE, node(rule))),
  ];
}
