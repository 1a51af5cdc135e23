/**
 * The kinds of what is installed, and where the API server has them.
 */
import type { KubeObject } from "../../api/object.ts";

interface InstalledKind {
  readonly base: string;
  readonly plural: string;
  readonly isNamespaced: boolean;
}

function kind(base: string, plural: string, isNamespaced = true): InstalledKind {
  return { base, plural, isNamespaced };
}

const RBAC = "/apis/rbac.authorization.k8s.io/v1";

/** In the order of removal: what runs goes first. */
export const INSTALLED_KINDS: Readonly<Record<string, InstalledKind>> = {
  ValidatingWebhookConfiguration: kind(
    "/apis/admissionregistration.k8s.io/v1",
    "validatingwebhookconfigurations",
    false,
  ),
  Deployment: kind("/apis/apps/v1", "deployments"),
  PodDisruptionBudget: kind("/apis/policy/v1", "poddisruptionbudgets"),
  NetworkPolicy: kind("/apis/networking.k8s.io/v1", "networkpolicies"),
  Service: kind("/api/v1", "services"),
  GatewayClass: kind("/apis/gateway.networking.k8s.io/v1", "gatewayclasses", false),
  ConfigMap: kind("/api/v1", "configmaps"),
  RoleBinding: kind(RBAC, "rolebindings"),
  Role: kind(RBAC, "roles"),
  ClusterRoleBinding: kind(RBAC, "clusterrolebindings", false),
  ClusterRole: kind(RBAC, "clusterroles", false),
  ServiceAccount: kind("/api/v1", "serviceaccounts"),
};

/** Where all of a kind are listed. */
export function collectionPath(name: string): string {
  const { base, plural } = INSTALLED_KINDS[name]!;
  return `${base}/${plural}`;
}

export function objectPath({
  kind: name,
  metadata,
}: Pick<KubeObject, "kind" | "metadata">): string {
  const { base, plural, isNamespaced } = INSTALLED_KINDS[name]!;
  const folder = isNamespaced ? `/namespaces/${metadata.namespace}` : "";
  return `${base}${folder}/${plural}/${metadata.name}`;
}

/** `Deployment istio-system/waystone`. */
export function describeObject({ kind: name, metadata }: Pick<KubeObject, "kind" | "metadata">) {
  const { namespace } = metadata;
  return `${name} ${namespace === undefined ? "" : `${namespace}/`}${metadata.name}`;
}
