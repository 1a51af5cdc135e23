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
import type { WaypointSettings } from "./waypoint-settings.ts";

/** Of the GatewayClass. */
export interface WaypointClass {
  readonly className: string;
  readonly controllerName: string;
}

export const MANAGED_LABEL = LABEL.managed;
const CLASS_LABEL = "gateway.networking.k8s.io/gateway-class-name";

const GATEWAY_API_KEYS = "gateway.networking.k8s.io/";

const NAME_OVERRIDE = "gateway.istio.io/name-override";
const SERVICE_ACCOUNT = "gateway.istio.io/service-account";
const SERVICE_TYPE = "networking.istio.io/service-type";
const PROXY_IMAGE = "sidecar.istio.io/proxyImage";
const LOG_LEVEL = "sidecar.istio.io/agentLogLevel";

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

/** The names of the Gateway's objects. */
export function waypointNames({ metadata }: Gateway): {
  readonly name: string;
  readonly serviceAccount: string;
} {
  const { name, annotations = {} } = metadata;
  const own = annotations[NAME_OVERRIDE] || name;
  return { name: own, serviceAccount: annotations[SERVICE_ACCOUNT] || own };
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
    this.#labels = {
      ...withoutGatewayApiKeys(labels ?? gateway.metadata.labels),
      [LABEL.gatewayName]: gateway.metadata.name,
      [CLASS_LABEL]: owner.className,
      [MANAGED_LABEL]: managedBy(owner),
    };
    this.#annotations = withoutGatewayApiKeys(annotations ?? gateway.metadata.annotations);
  }

  /** Undefined when an annotation names an account that somebody else looks after. */
  serviceAccount(): KubeObject | undefined {
    if (this.#gateway.metadata.annotations?.[SERVICE_ACCOUNT]) return undefined;
    return { apiVersion: "v1", kind: "ServiceAccount", metadata: this.#metadata() };
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
    const { annotations = {} } = this.#gateway.metadata;
    const listeners = this.#gateway.spec.listeners.map(({ name, port, protocol }) => ({
      name,
      port,
      protocol: "TCP",
      ...(protocol === "HBONE" ? { appProtocol: "hbone" } : {}),
    }));
    const status = { name: "status-port", port: 15021, protocol: "TCP", appProtocol: "tcp" };
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
        type: annotations[SERVICE_TYPE] || "ClusterIP",
        ipFamilyPolicy: "PreferDualStack",
        selector: this.#selector,
        ports: [status, ...listeners],
      },
    };
  }

  /** Only the frame: what scales is said in an overlay. */
  autoscaler(): KubeObject {
    const scaleTargetRef = { apiVersion: "apps/v1", kind: "Deployment", name: this.#name };
    return {
      apiVersion: "autoscaling/v2",
      kind: "HorizontalPodAutoscaler",
      metadata: this.#metadata(),
      spec: { scaleTargetRef },
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
    const { apiVersion, metadata } = this.#gateway;
    const owner = {
      apiVersion,
      kind: "Gateway",
      name: metadata.name,
      ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
    };
    const all = { ...this.#annotations, ...annotations };
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
        ...this.#labels,
        [LABEL.dataplaneMode]: "none",
        "sidecar.istio.io/inject": "false",
        "service.istio.io/canonical-name": this.#name,
        "service.istio.io/canonical-revision": "latest",
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
      terminationGracePeriodSeconds: GRACE_SECONDS,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: USER_ID,
        runAsGroup: USER_ID,
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
    const { annotations = {} } = this.#gateway.metadata;
    const level = annotations[LOG_LEVEL];
    return {
      name: "istio-proxy",
      image: annotations[PROXY_IMAGE] || image,
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
        { name: "status-port", containerPort: 15021, protocol: "TCP" },
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
  NODE_NAME: "spec.nodeName",
};

const DEFAULT_RESOURCES: Json = { requests: { cpu: "100m", memory: "128Mi" } };

const VOLUMES: readonly Json[] = [
  // The last good configuration outlives the container.
  { name: "state", emptyDir: {} },
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
  return { httpGet: { path: "/healthz/ready", port: 15021 }, timeoutSeconds: 1, ...times };
}

function withoutGatewayApiKeys(labels: Labels | undefined): Labels {
  const entries = Object.entries(labels ?? {});
  return Object.fromEntries(entries.filter(([key]) => !key.startsWith(GATEWAY_API_KEYS)));
}
