/**
 * Which Kubernetes, Gateway API and Istio API the tests run against: change a version here, and the
 * next run builds it into a folder of its own. etcd is the one that this Kubernetes asks for.
 */
export const VERSIONS = {
  kubernetes: "1.37.2",
  gatewayApi: "1.6.3",
  istioApi: "1.31.1",
  helm: "3.19.5",
} as const;
