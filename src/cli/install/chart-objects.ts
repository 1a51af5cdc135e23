import { BESIDE_ISTIOD, UNDER_WAYSTONE } from "../../control/cluster/cluster-mode.ts";
import { ROOT_NAMESPACE } from "../../control/cluster/permissions.ts";
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
        ports: [port("https-dns", 15012), port("http-monitoring", 15014)],
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
        ingress: [{ ports: [tcp(15012), tcp(15014), tcp(8080)] }],
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
