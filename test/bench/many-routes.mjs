/**
 * More of a mesh for the benchmark: routes on its service that share no path with its requests, and
 * endpoints that are like those it has. The sink answers for all of them.
 */

/** YAML of `count` HTTPRoutes of four matches each, of every kind there is. */
export function otherRoutes(count) {
  return Array.from({ length: count }, (_, i) =>
    [
      "apiVersion: gateway.networking.k8s.io/v1",
      "kind: HTTPRoute",
      `metadata: { name: other-${i}, namespace: default }`,
      "spec:",
      '  parentRefs: [{ group: "", kind: Service, name: reviews }]',
      "  rules:",
      "    - matches:",
      `        - path: { type: PathPrefix, value: /other-${i}/items }`,
      `        - path: { type: Exact, value: /other-${i} }`,
      `        - path: { type: PathPrefix, value: /api-${i} }`,
      `          headers: [{ name: x-version, value: v${i} }]`,
      `        - path: { type: PathPrefix, value: /other/${i} }`,
      "          method: POST",
      "      backendRefs: [{ name: reviews-v1, port: 80 }]",
    ].join("\n"),
  ).join("\n---\n");
}

/**
 * YAML of `count` Pods like reviews-v1-0, on its address: what is measured is the choice, and not
 * a tunnel to each.
 */
export function otherEndpoints(count) {
  return Array.from({ length: count }, (_, i) => {
    const ip = "127.0.0.2";
    return [
      "apiVersion: v1",
      "kind: Pod",
      "metadata:",
      `  name: reviews-v1-${i + 1}`,
      "  namespace: default",
      "  labels: { app: reviews, version: v1 }",
      "spec: { serviceAccountName: backend, containers: [{ name: reviews }] }",
      "status:",
      "  phase: Running",
      `  podIP: ${ip}`,
      `  podIPs: [{ ip: ${ip} }]`,
      '  conditions: [{ type: Ready, status: "True" }]',
    ].join("\n");
  }).join("\n---\n");
}
