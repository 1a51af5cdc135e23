/**
 * The objects of a waypoint as they are without overlays: names, labels, and the one container.
 *
 * They are Istio's in all that others rely on (names, labels, ports, probes, the token's audience);
 * the Pod keeps to the Pod security standard `restricted`. `replicas` is not said: it is one at
 * first, and whoever scales the Deployment is not overruled.
 */
import type { Gateway } from "../../api/gateway.ts";
import type { KubeObject } from "../../api/object.ts";
import { LABEL } from "../labels.ts";
import type { Labels } from "../object-names.ts";
import type { Json } from "./strategic-merge.ts";
import {
  copiedToObjects,
  imageOf,
  logLevelOf,
  STATUS_PORT,
  servicePorts,
  serviceTypeOf,
  waypointNames,
} from "./waypoint-annotations.ts";
import type { WaypointSettings } from "./waypoint-settings.ts";

/** Of the GatewayClass. */
export interface WaypointClass {
  readonly className: string;
  readonly controllerName: string;
}

export const MANAGED_LABEL = LABEL.managed;
const CLASS_LABEL = "gateway.networking.k8s.io/gateway-class-name";
const NETWORK_LABEL = "topology.istio.io/network";

/** Istio's. */
const USER_ID = 1337;
const GRACE_SECONDS = 30;
const TOKEN_SECONDS = 43_200;
const STATE_FOLDER = "/var/lib/waystone";
const ROOTS_FOLDER = "/var/run/secrets/istio";
const TOKENS_FOLDER = "/var/run/secrets/tokens";

/** `istio.io/mesh-controller` as the value of a label. */
export function managedBy({ controllerName }: WaypointClass): string {
  return controllerName.replaceAll("/", "-");
}

export class WaypointTemplate {
  readonly #gateway: Gateway;
  readonly #settings: WaypointSettings;
  readonly #name: string;
  readonly #serviceAccount: string;
  readonly #labels: Labels;
  readonly #annotations: Labels;
  readonly #isBeside: boolean;

  constructor(gateway: Gateway, owner: WaypointClass, settings: WaypointSettings) {
    this.#gateway = gateway;
    this.#settings = settings;
    const { name, serviceAccount } = waypointNames(gateway);
    this.#name = name;
    this.#serviceAccount = serviceAccount;
    this.#isBeside = settings.istiodAddress !== undefined;
    const { labels, annotations } = gateway.spec.infrastructure ?? {};
    const own = copiedToObjects(labels, gateway.metadata.labels);
    this.#labels = {
      ...(settings.network === undefined ? {} : { [NETWORK_LABEL]: settings.network }),
      ...own,
      [LABEL.gatewayName]: gateway.metadata.name,
      [CLASS_LABEL]: owner.className,
      [MANAGED_LABEL]: managedBy(owner),
    };
    this.#annotations = copiedToObjects(annotations, gateway.metadata.annotations);
  }

  serviceAccount(): KubeObject {
    const metadata = { ...this.#metadata(), name: this.#serviceAccount };
    return { apiVersion: "v1", kind: "ServiceAccount", metadata };
  }

  deployment(): KubeObject {
    const selector = { matchLabels: this.#selector };
    return {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: this.#metadata(),
      spec: { selector, template: { metadata: this.#podMetadata(), spec: this.#podSpec() } },
    };
  }

  service(): KubeObject {
    const distribution = { "networking.istio.io/traffic-distribution": "PreferClose" };
    return {
      apiVersion: "v1",
      kind: "Service",
      metadata: this.#metadata(
        // Istiod would send the way to the waypoint through the namespace's waypoint.
        this.#isBeside ? { [LABEL.useWaypoint]: "none" } : {},
        distribution,
      ),
      spec: {
        type: serviceTypeOf(this.#gateway),
        ipFamilyPolicy: "PreferDualStack",
        selector: this.#selector,
        ports: servicePorts(this.#gateway.spec.listeners),
      },
    };
  }

  /** Only the frame, which scales to nothing more than one: the rest is said in an overlay. */
  autoscaler(): KubeObject {
    const scaleTargetRef = { apiVersion: "apps/v1", kind: "Deployment", name: this.#name };
    return {
      apiVersion: "autoscaling/v2",
      kind: "HorizontalPodAutoscaler",
      metadata: this.#metadata(),
      spec: { scaleTargetRef, maxReplicas: 1 },
    };
  }

  /** Only the frame. */
  disruptionBudget(): KubeObject {
    return {
      apiVersion: "policy/v1",
      kind: "PodDisruptionBudget",
      metadata: this.#metadata(),
      spec: { selector: { matchLabels: this.#selector } },
    };
  }

  get #selector(): Labels {
    return { [LABEL.gatewayName]: this.#gateway.metadata.name };
  }

  #metadata(labels: Labels = {}, annotations: Labels = {}): KubeObject["metadata"] {
    const { metadata } = this.#gateway;
    const owner = {
      apiVersion: "gateway.networking.k8s.io/v1",
      kind: "Gateway",
      name: metadata.name,
      ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
    };
    const all = { ...annotations, ...this.#annotations };
    return {
      name: this.#name,
      namespace: metadata.namespace,
      labels: { ...this.#labels, ...labels },
      ...(Object.keys(all).length === 0 ? {} : { annotations: all }),
      ownerReferences: [owner],
    };
  }

  #podMetadata(): Json {
    const { revision = "default" } = this.#settings;
    return {
      labels: {
        "service.istio.io/canonical-name": this.#name,
        "service.istio.io/canonical-revision": "latest",
        ...this.#labels,
        // Captured, or with a sidecar, it could not take tunnels: a copied label shall not say so.
        [LABEL.dataplaneMode]: "none",
        "sidecar.istio.io/inject": "false",
      },
      annotations: {
        ...this.#annotations,
        "istio.io/rev": revision,
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "15020",
        "prometheus.io/path": "/stats/prometheus",
      },
    };
  }

  #podSpec(): Json {
    const { imagePullSecrets = [], affinity, nodeSelector } = this.#settings;
    const { tolerations, topologySpreadConstraints } = this.#settings;
    return {
      serviceAccountName: this.#serviceAccount,
      automountServiceAccountToken: false,
      // Variables for each Service of the namespace could be taken for options.
      enableServiceLinks: false,
      terminationGracePeriodSeconds: GRACE_SECONDS,
      securityContext: {
        runAsNonRoot: true,
        fsGroup: USER_ID,
        seccompProfile: { type: "RuntimeDefault" },
      },
      containers: [this.#container()],
      volumes: VOLUMES,
      ...(imagePullSecrets.length === 0
        ? {}
        : { imagePullSecrets: imagePullSecrets.map((name) => ({ name })) }),
      ...(affinity && { affinity }),
      ...(nodeSelector && { nodeSelector }),
      ...(tolerations && { tolerations }),
      ...(topologySpreadConstraints && { topologySpreadConstraints }),
    };
  }

  /** Its name is the one that overlays and tools of Istio's users know. */
  #container(): Json {
    const { image, imagePullPolicy, resources } = this.#settings;
    const level = logLevelOf(this.#gateway);
    return {
      name: "istio-proxy",
      image: imageOf(this.#gateway, image),
      ...(imagePullPolicy && { imagePullPolicy }),
      args: this.#args(),
      env: [
        ...Object.entries(FIELD_VARIABLES).map(([name, fieldPath]) => ({
          name,
          valueFrom: { fieldRef: { fieldPath } },
        })),
        { name: "TERMINATION_GRACE_PERIOD_SECONDS", value: String(GRACE_SECONDS) },
        { name: "NODE_OPTIONS", value: "--max-semi-space-size=4" },
        ...(level === undefined ? [] : [{ name: "WAYSTONE_LOG_LEVEL", value: level }]),
      ],
      ports: [
        { name: "metrics", containerPort: 15020, protocol: "TCP" },
        { name: STATUS_PORT.name, containerPort: STATUS_PORT.port, protocol: "TCP" },
        { name: "mesh", containerPort: 15008, protocol: "TCP" },
      ],
      startupProbe: probe({ periodSeconds: 1, failureThreshold: 30 }),
      readinessProbe: probe({ periodSeconds: 15, failureThreshold: 4 }),
      resources: resources ?? DEFAULT_RESOURCES,
      securityContext: {
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        privileged: false,
        readOnlyRootFilesystem: true,
        runAsNonRoot: true,
        runAsUser: USER_ID,
        runAsGroup: USER_ID,
      },
      volumeMounts: VOLUME_MOUNTS,
    };
  }

  #args(): readonly string[] {
    const { xdsAddress, caAddress, istiodAddress, controlPlaneIdentity } = this.#settings;
    const { clusterId } = this.#settings;
    const optional = Object.entries({
      "--ca-address": caAddress,
      "--istiod": istiodAddress,
      "--control-plane-identity": controlPlaneIdentity,
      "--cluster-id": clusterId,
    });
    return [
      ...["waypoint", `$(POD_NAMESPACE)/${this.#gateway.metadata.name}`],
      ...["--service-account", this.#serviceAccount],
      ...["--xds-address", xdsAddress],
      ...optional.flatMap(([option, value]) => (value === undefined ? [] : [option, value])),
      ...["--roots", `${ROOTS_FOLDER}/root-cert.pem`],
      ...["--token", `${TOKENS_FOLDER}/istio-token`],
      ...["--last-configuration", `${STATE_FOLDER}/last-configuration`],
      // In brackets an address of either family can stand.
      ...["--metrics-address", "[$(INSTANCE_IP)]:15020"],
      ...["--readiness-address", "[$(INSTANCE_IP)]:15021"],
    ];
  }
}

const FIELD_VARIABLES = {
  POD_NAME: "metadata.name",
  POD_NAMESPACE: "metadata.namespace",
  INSTANCE_IP: "status.podIP",
};

/** Istio's for waypoints. */
const DEFAULT_RESOURCES: Json = {
  requests: { cpu: "100m", memory: "128Mi" },
  limits: { cpu: "2", memory: "1Gi" },
};

const VOLUMES: readonly Json[] = [
  // The last good configuration outlives the container.
  { name: "state", emptyDir: { sizeLimit: "512Mi" } },
  { name: "istiod-ca-cert", configMap: { name: "istio-ca-root-cert" } },
  {
    name: "istio-token",
    projected: {
      sources: [
        {
          serviceAccountToken: {
            audience: "istio-ca",
            expirationSeconds: TOKEN_SECONDS,
            path: "istio-token",
          },
        },
      ],
    },
  },
];

const VOLUME_MOUNTS: readonly Json[] = [
  { name: "state", mountPath: STATE_FOLDER },
  { name: "istiod-ca-cert", mountPath: ROOTS_FOLDER, readOnly: true },
  { name: "istio-token", mountPath: TOKENS_FOLDER, readOnly: true },
];

function probe(times: Json): Json {
  return {
    httpGet: { path: "/healthz/ready", port: STATUS_PORT.port },
    timeoutSeconds: 1,
    ...times,
  };
}
