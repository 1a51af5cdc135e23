/**
 * The control plane's Deployment. Its Pods keep to the Pod security standard `restricted`.
 */
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
  type ChartNode,
  type ChartObject,
  checksum,
  each,
  type Hole,
  ITEM,
  ifSet,
  joined,
  NAMESPACE,
  ref,
  text,
  UNDER,
  value,
  when,
} from "./chart-node.ts";

type Mapping = { readonly [key: string]: ChartNode };

/** As waypoints' and Istio's. */
const USER_ID = 1337;
const TOKEN_SECONDS = 43_200;

const STATE_FOLDER = "/var/lib/waystone";
const SETTINGS_FOLDER = "/etc/waystone";
const ROOTS_FOLDER = "/var/run/secrets/istio";
const TOKENS_FOLDER = "/var/run/secrets/tokens";

export function controlPlaneDeployment(): ChartObject {
  return {
    file: "deployment.yaml",
    object: {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: metadata(NAME),
      spec: {
        replicas: value("replicas"),
        selector: { matchLabels: SELECTOR },
        strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        template: { metadata: podMetadata(), spec: podSpec() },
      },
    },
  };
}

function podMetadata(): Mapping {
  return {
    labels: labels({
      // Istio's command line looks for Pods with these.
      app: when(UNDER, "istiod"),
      istio: when(UNDER, "pilot"),
      "istio.io/rev": when(UNDER, value("revision")),
      // Proxies would wait for the one whom they wait for.
      "istio.io/dataplane-mode": "none",
      "sidecar.istio.io/inject": "false",
    }),
    annotations: ifSet("podAnnotations"),
  };
}

function podSpec(): Mapping {
  return {
    serviceAccountName: NAME,
    automountServiceAccountToken: true,
    terminationGracePeriodSeconds: value("terminationGracePeriodSeconds"),
    priorityClassName: ifSet("priorityClassName"),
    imagePullSecrets: when("image.pullSecrets", [each("image.pullSecrets", { name: value(ITEM) })]),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER_ID,
      runAsGroup: USER_ID,
      fsGroup: USER_ID,
      seccompProfile: { type: "RuntimeDefault" },
    },
    affinity: ifSet("affinity", ON_DIFFERENT_NODES),
    topologySpreadConstraints: ifSet("topologySpreadConstraints"),
    nodeSelector: ifSet("nodeSelector"),
    tolerations: ifSet("tolerations"),
    containers: [container()],
    volumes: [
      { name: "state", emptyDir: {} },
      { name: "settings", configMap: { name: SETTINGS_MAP } },
      ...besideIstiod(
        { name: "istiod-ca-cert", configMap: { name: "istio-ca-root-cert" } },
        { name: "istio-token", projected: { sources: [{ serviceAccountToken: ISTIOD_TOKEN }] } },
      ),
    ],
  };
}

const ON_DIFFERENT_NODES: Mapping = {
  podAntiAffinity: {
    preferredDuringSchedulingIgnoredDuringExecution: [
      {
        weight: 100,
        podAffinityTerm: {
          labelSelector: { matchLabels: SELECTOR },
          topologyKey: "kubernetes.io/hostname",
        },
      },
    ],
  },
};

const ISTIOD_TOKEN: Mapping = {
  audience: "istio-ca",
  expirationSeconds: TOKEN_SECONDS,
  path: "istio-token",
};

function besideIstiod(...nodes: readonly ChartNode[]): readonly Hole[] {
  return nodes.map((node) => when(BESIDE, node));
}

function container(): Mapping {
  return {
    name: "control-plane",
    image: IMAGE,
    imagePullPolicy: value("image.pullPolicy"),
    args: args(),
    env: [
      field("POD_NAME", "metadata.name"),
      field("POD_NAMESPACE", "metadata.namespace"),
      {
        name: "TERMINATION_GRACE_PERIOD_SECONDS",
        value: text`${ref("terminationGracePeriodSeconds")}`,
      },
      { name: "WAYSTONE_LOG_LEVEL", value: value("logLevel") },
      // The settings are read at the start: others make other Pods.
      {
        name: "WAYPOINT_SETTINGS_CHECKSUM",
        value: checksum("image", "istiod", "clusterId", "network", "revision", "waypoint"),
      },
      each("env", value(ITEM)),
    ],
    ports: [
      port("https-dns", 15012),
      when({ all: [UNDER, { isSet: "webhook.enabled" }] }, port("https-webhook", 15017)),
      port("http-monitoring", 15014),
      port("readiness", 8080),
    ],
    // A large cluster takes its time to be read: it is not killed for that.
    readinessProbe: {
      httpGet: { path: "/healthz/ready", port: 8080 },
      periodSeconds: 3,
      timeoutSeconds: 5,
    },
    resources: ifSet("resources"),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: USER_ID,
      runAsGroup: USER_ID,
    },
    volumeMounts: [
      { name: "state", mountPath: STATE_FOLDER },
      { name: "settings", mountPath: SETTINGS_FOLDER, readOnly: true },
      ...besideIstiod(
        { name: "istiod-ca-cert", mountPath: ROOTS_FOLDER, readOnly: true },
        { name: "istio-token", mountPath: TOKENS_FOLDER, readOnly: true },
      ),
    ],
  };
}

function args(): readonly ChartNode[] {
  const host = ref("bindHost");
  const webhook = { all: [UNDER, { isSet: "webhook.enabled" }] };
  return [
    ...["control-plane", "--kubernetes", "--mode"],
    value("mode"),
    ...["--state", STATE_FOLDER],
    ...["--waypoint-settings", `${SETTINGS_FOLDER}/${SETTINGS_FILE}`],
    ...["--server-name", text`${SERVICE}.${NAMESPACE}.svc`],
    ...["--address", text`${host}:15012`],
    ...["--metrics-address", text`${host}:15014`],
    ...["--readiness-address", text`${host}:8080`],
    when(UNDER, "--trusted-node-accounts"),
    when(UNDER, joined("trustedNodeAccounts", ",")),
    when(webhook, "--webhook-address"),
    when(webhook, text`${host}:15017`),
    ...besideIstiod("--ca-address", value("istiod.address")),
    ...besideIstiod("--cluster-id", value("clusterId")),
    ...besideIstiod("--token", `${TOKENS_FOLDER}/istio-token`),
    ...besideIstiod("--roots", `${ROOTS_FOLDER}/root-cert.pem`),
    each("extraArgs", value(ITEM)),
  ];
}

function port(name: string, containerPort: number): ChartNode {
  return { name, containerPort, protocol: "TCP" };
}

function field(name: string, fieldPath: string): ChartNode {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}
