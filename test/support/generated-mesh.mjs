/**
 * Meshes of any size: services in namespaces of 100, each with pods, a route with two weighted
 * backends and a policy, all behind the waypoint of their namespace. Plain JavaScript, so that
 * processes under measurement load it as it is; types beside it.
 */
const PER_NAMESPACE = 100;

export function generateMesh({ services, podsPerService }) {
  const objects = [];
  for (let i = 0; i < services; i++) {
    if (i % PER_NAMESPACE === 0) objects.push(...namespaceObjects(namespaceOf(i)));
    objects.push(service(i), route(i), policy(i));
    for (let p = 0; p < podsPerService(i); p++) objects.push(pod(i, p));
  }
  return {
    objects,
    route,
    pod,
    policy,
    service,
    namespace: (i, change) => namespaceObject(namespaceOf(i), change),
    gateway: (i) => `${namespaceOf(i)}/waypoint`,
    serviceKey: (i) => `${namespaceOf(i)}/svc-${i}.${namespaceOf(i)}.svc.cluster.local`,
  };
}

function namespaceOf(service) {
  return `ns-${Math.floor(service / PER_NAMESPACE)}`;
}

function parsed(apiVersion, kind, metadata, rest) {
  const position = { file: "generated.yaml", line: 1, column: 1 };
  const value = { apiVersion, kind, metadata, ...rest };
  return { kind, value, position, positionOf: () => position };
}

function ip(network, number) {
  return `${network}.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
}

const GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name";

function namespaceObjects(namespace) {
  const number = Number(namespace.slice(3));
  const own = { name: "waypoint", namespace };
  const labels = { [GATEWAY_NAME]: "waypoint", "istio.io/dataplane-mode": "none" };
  return [
    namespaceObject(namespace),
    parsed("gateway.networking.k8s.io/v1", "Gateway", own, {
      spec: {
        gatewayClassName: "istio-waypoint",
        listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }],
      },
      status: { addresses: [{ type: "IPAddress", value: ip(12, number) }] },
    }),
    parsed("v1", "Service", own, {
      spec: {
        clusterIP: ip(12, number),
        selector: { [GATEWAY_NAME]: "waypoint" },
        ports: [{ name: "mesh", port: 15008 }],
      },
    }),
    parsed(
      "v1",
      "Pod",
      { name: "waypoint-1", namespace, labels },
      podParts("waypoint", ip(13, number), true),
    ),
  ];
}

function namespaceObject(name, { usesWaypoint } = { usesWaypoint: true }) {
  const labels = { "istio.io/dataplane-mode": "ambient" };
  if (usesWaypoint) labels["istio.io/use-waypoint"] = "waypoint";
  return parsed("v1", "Namespace", { name, labels }, {});
}

function podParts(serviceAccountName, podIP, isReady) {
  return {
    spec: { serviceAccountName, nodeName: "node-1", containers: [{ name: "main" }] },
    status: {
      phase: "Running",
      podIP,
      conditions: [{ type: "Ready", status: isReady ? "True" : "False" }],
    },
  };
}

/** `copy`: another service in the same namespace, in front of the same pods. */
function service(i, { copy } = {}) {
  const isCopy = copy !== undefined;
  const metadata = { name: isCopy ? `svc-${i}-${copy}` : `svc-${i}`, namespace: namespaceOf(i) };
  return parsed("v1", "Service", metadata, {
    spec: {
      clusterIP: isCopy ? ip(14, copy) : ip(10, i),
      selector: { app: `svc-${i}` },
      ports: [{ name: "http", port: 80, targetPort: 8080 }],
    },
  });
}

function pod(i, index, { isReady } = { isReady: true }) {
  const labels = { app: `svc-${i}`, version: "v1", "pod-template-hash": `h${i}` };
  const metadata = { name: `svc-${i}-h${i}-${index}`, namespace: namespaceOf(i), labels };
  return parsed("v1", "Pod", metadata, podParts(`svc-${i}`, ip(11, i * 64 + index), isReady));
}

function route(i, { weights } = { weights: [1, 1] }) {
  const namespace = namespaceOf(i);
  const neighbour = i % PER_NAMESPACE === 0 ? i : i - 1;
  return parsed(
    "gateway.networking.k8s.io/v1",
    "HTTPRoute",
    { name: `svc-${i}`, namespace },
    {
      spec: {
        parentRefs: [{ group: "", kind: "Service", name: `svc-${i}` }],
        rules: [
          {
            backendRefs: [
              { name: `svc-${i}`, port: 80, weight: weights[0] },
              { name: `svc-${neighbour}`, port: 80, weight: weights[1] },
            ],
          },
        ],
      },
    },
  );
}

function policy(i, { path } = { path: "/api/*" }) {
  const namespace = namespaceOf(i);
  const metadata = { name: `svc-${i}`, namespace };
  return parsed("security.istio.io/v1", "AuthorizationPolicy", metadata, {
    spec: {
      targetRefs: [{ kind: "Service", group: "", name: `svc-${i}` }],
      rules: [
        {
          from: [{ source: { principals: [`cluster.local/ns/${namespace}/sa/svc-${i}`] } }],
          to: [{ operation: { methods: ["GET"], paths: [path] } }],
        },
      ],
    },
  });
}
