/**
 * Everything that an installation is of, in the order in which it is applied.
 */
import { KINDS, type Kind } from "../../api/kinds.ts";
import { BESIDE_ISTIOD, UNDER_WAYSTONE } from "../../control/cluster/cluster-mode.ts";
import { pluralOf, ROOT_NAMESPACE, WEBHOOK_NAME } from "../../control/cluster/permissions.ts";
import { WATCHED_KINDS } from "../../control/source/kubernetes/watched-kinds.ts";
import { accessObjects } from "./chart-access.ts";
import { controlPlaneDeployment } from "./chart-deployment.ts";
import {
  IMAGE,
  labels,
  metadata,
  NAME,
  SELECTOR,
  SERVICE,
  SETTINGS_FILE,
  SETTINGS_MAP,
} from "./chart-names.ts";
import {
  BESIDE,
  byMode,
  type ChartNode,
  type ChartObject,
  each,
  ITEM,
  ifSet,
  NAMESPACE,
  ref,
  text,
  UNDER,
  value,
  when,
  yamlText,
} from "./chart-node.ts";

export const CHART: readonly ChartObject[] = [
  ...accessObjects(),
  meshConfig(),
  waypointSettings(),
  gatewayClass(),
  service(),
  controlPlaneDeployment(),
  disruptionBudget(),
  networkPolicy(),
  webhook(),
];

function meshConfig(): ChartObject {
  return {
    file: "mesh-config.yaml",
    condition: { all: [UNDER, { isSet: "meshConfig" }] },
    isLeftToOthers: true,
    object: {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "istio", namespace: ROOT_NAMESPACE, labels: labels() },
      data: { mesh: yamlText(value("meshConfig")) },
    },
  };
}

function waypointSettings(): ChartObject {
  const account = text`spiffe://${ref("istiod.trustDomain")}/ns/${NAMESPACE}/sa/waystone`;
  const settings: ChartNode = {
    image: IMAGE,
    imagePullPolicy: value("image.pullPolicy"),
    imagePullSecrets: ifSet("image.pullSecrets"),
    xdsAddress: text`${SERVICE}.${NAMESPACE}.svc:15012`,
    caAddress: when(BESIDE, value("istiod.address")),
    istiodAddress: when(BESIDE, value("istiod.address")),
    controlPlaneIdentity: when(BESIDE, account),
    clusterId: value("clusterId"),
    network: ifSet("network"),
    revision: value("revision"),
    resources: ifSet("waypoint.resources"),
    affinity: ifSet("waypoint.affinity"),
    nodeSelector: ifSet("waypoint.nodeSelector"),
    tolerations: ifSet("waypoint.tolerations"),
    topologySpreadConstraints: ifSet("waypoint.topologySpreadConstraints"),
  };
  return {
    file: "waypoint-settings.yaml",
    object: {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: metadata(SETTINGS_MAP),
      data: { [SETTINGS_FILE]: yamlText(settings) },
    },
  };
}

function gatewayClass(): ChartObject {
  const [under, beside] = [UNDER_WAYSTONE, BESIDE_ISTIOD];
  return {
    file: "gateway-class.yaml",
    // Istiod makes its class itself, and may have left it.
    isLeftToOthers: true,
    object: {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "GatewayClass",
      metadata: { name: text`${byMode(under.className, beside.className)}`, labels: labels() },
      spec: {
        controllerName: text`${byMode(under.controllerName, beside.controllerName)}`,
        description: "Waypoints of an ambient mesh, run by Waystone",
      },
    },
  };
}

function service(): ChartObject {
  const port = (name: string, number: number, targetPort = number): ChartNode => ({
    name,
    port: number,
    protocol: "TCP",
    targetPort,
  });
  return {
    file: "service.yaml",
    object: {
      apiVersion: "v1",
      kind: "Service",
      // By its labels Istio's command line and dashboards find a control plane.
      metadata: metadata(text`${SERVICE}`, {
        app: when(UNDER, "istiod"),
        istio: when(UNDER, "pilot"),
        "istio.io/rev": when(UNDER, value("revision")),
      }),
      spec: {
        ipFamilyPolicy: "PreferDualStack",
        selector: SELECTOR,
        ports: [
          port("https-dns", 15012),
          when({ all: [UNDER, { isSet: "webhook.enabled" }] }, port("https-webhook", 443, 15017)),
          port("http-monitoring", 15014),
        ],
      },
    },
  };
}

function disruptionBudget(): ChartObject {
  return {
    file: "pod-disruption-budget.yaml",
    condition: { isSet: "podDisruptionBudget.enabled" },
    object: {
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: metadata(NAME),
      spec: {
        maxUnavailable: value("podDisruptionBudget.maxUnavailable"),
        selector: { matchLabels: SELECTOR },
      },
    },
  };
}

function networkPolicy(): ChartObject {
  const tcp = (port: number): ChartNode => ({ port, protocol: "TCP" });
  const webhookPort = when({ all: [UNDER, { isSet: "webhook.enabled" }] }, tcp(15017));
  return {
    file: "network-policy.yaml",
    condition: { isSet: "networkPolicy.enabled" },
    object: {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: metadata(NAME),
      spec: {
        podSelector: { matchLabels: SELECTOR },
        policyTypes: ["Ingress", "Egress"],
        ingress: [{ ports: [tcp(15012), tcp(15014), webhookPort, tcp(8080)] }],
        egress: [
          { ports: [{ port: 53, protocol: "UDP" }, tcp(53)] },
          { ports: [tcp(443), tcp(6443)] },
          when(BESIDE, { ports: [tcp(15012)] }),
          each("networkPolicy.egress", value(ITEM)),
        ],
      },
    },
  };
}

/**
 * Kinds of the mesh, by group. GatewayClasses are an installation's own: it must be possible to
 * mend one whose control plane does not answer.
 */
function validatedKinds(): ChartNode {
  const groups = new Map<string, string[]>();
  for (const name of WATCHED_KINDS) {
    const { group }: Kind = KINDS[name];
    const isOurs = group.endsWith(".istio.io") || group.includes("gateway.networking");
    if (!isOurs || name === "GatewayClass") continue;
    groups.set(group, [...(groups.get(group) ?? []), pluralOf(name)]);
  }
  return [...groups.keys()].sort().map((group) => ({
    apiGroups: [group],
    apiVersions: ["*"],
    operations: ["CREATE", "UPDATE"],
    resources: groups.get(group)!.sort(),
    scope: "*",
  }));
}

function webhook(): ChartObject {
  return {
    file: "webhook.yaml",
    condition: { all: [UNDER, { isSet: "webhook.enabled" }] },
    object: {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "ValidatingWebhookConfiguration",
      metadata: { name: WEBHOOK_NAME, labels: labels() },
      webhooks: [
        {
          name: "validation.waystone.io",
          // The control plane adds its caBundle.
          clientConfig: {
            service: {
              name: text`${SERVICE}`,
              namespace: text`${NAMESPACE}`,
              path: "/validate",
              port: 443,
            },
          },
          rules: validatedKinds(),
          failurePolicy: value("webhook.failurePolicy"),
          sideEffects: "None",
          timeoutSeconds: 5,
          admissionReviewVersions: ["v1"],
        },
      ],
    },
  };
}
