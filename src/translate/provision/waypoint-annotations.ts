/**
 * What a Gateway's own fields say of its waypoint's objects: their names, the Service's type and
 * ports, the image and how much is logged. Annotations are Istio's.
 */
import type { Gateway, Listener } from "../../api/gateway.ts";

export const ANNOTATION = {
  nameOverride: "gateway.istio.io/name-override",
  serviceAccount: "gateway.istio.io/service-account",
  serviceType: "networking.istio.io/service-type",
  proxyImage: "sidecar.istio.io/proxyImage",
  logLevel: "sidecar.istio.io/logLevel",
  agentLogLevel: "sidecar.istio.io/agentLogLevel",
} as const;

/** They speak of the Gateway alone: objects do not get copies. */
const NOT_COPIED: ReadonlySet<string> = new Set([
  ANNOTATION.nameOverride,
  ANNOTATION.serviceAccount,
  "gateway.istio.io/controller-version",
  "kubectl.kubernetes.io/last-applied-configuration",
]);
const GATEWAY_API_KEYS = "gateway.networking.k8s.io/";

const SERVICE_TYPES: ReadonlySet<string> = new Set(["ClusterIP", "NodePort", "LoadBalancer"]);

/** Of Services' names and of labels' values; a Gateway's name may be longer and have dots. */
const SERVICE_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const ACCOUNT_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const LABEL_CHARACTERS_MAX = 63;

type Texts = Readonly<Record<string, string>>;

/** The names of the Gateway's objects: the override is for all but the account. */
export function waypointNames({ metadata }: Gateway): {
  readonly name: string;
  readonly serviceAccount: string;
} {
  const { name, annotations = {} } = metadata;
  return {
    name: annotations[ANNOTATION.nameOverride] || name,
    serviceAccount: annotations[ANNOTATION.serviceAccount] || name,
  };
}

/** Labels, or annotations, that objects get: those asked for, else the Gateway's own. */
export function copiedToObjects(asked: Texts | undefined, own: Texts | undefined): Texts {
  const entries = Object.entries(asked ?? own ?? {});
  return Object.fromEntries(
    entries.filter(([key]) => !key.startsWith(GATEWAY_API_KEYS) && !NOT_COPIED.has(key)),
  );
}

export function serviceTypeOf({ metadata }: Gateway): string {
  return metadata.annotations?.[ANNOTATION.serviceType] || "ClusterIP";
}

/** Why no objects can have these names, or this type; for whoever wrote the Gateway. */
export function annotationsProblem(gateway: Gateway): string | undefined {
  const { name } = gateway.metadata;
  if (name.length > LABEL_CHARACTERS_MAX) {
    return `the Gateway's name is longer than ${LABEL_CHARACTERS_MAX} characters, which no label can hold: choose a shorter one`;
  }
  const names = waypointNames(gateway);
  if (!SERVICE_NAME.test(names.name)) {
    return `"${names.name}" cannot be the name of a Service: choose another with annotation ${ANNOTATION.nameOverride}`;
  }
  if (!ACCOUNT_NAME.test(names.serviceAccount)) {
    return `annotation ${ANNOTATION.serviceAccount} is "${names.serviceAccount}", which cannot be the name of a ServiceAccount`;
  }
  const type = serviceTypeOf(gateway);
  if (SERVICE_TYPES.has(type)) return undefined;
  return `annotation ${ANNOTATION.serviceType} is "${type}": use ${[...SERVICE_TYPES].join(", ")}`;
}

interface ListenerPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: "TCP";
  readonly appProtocol: string;
}

export const STATUS_PORT: ListenerPort = {
  name: "status-port",
  port: 15021,
  protocol: "TCP",
  appProtocol: "tcp",
};

/** One for each port; names of listeners may have dots and be longer than those of ports. */
export function servicePorts(listeners: readonly Listener[]): readonly ListenerPort[] {
  const ports: ListenerPort[] = [STATUS_PORT];
  for (const { name, port, protocol } of listeners) {
    if (ports.some((one) => one.port === port)) continue;
    const wanted = name.replaceAll(".", "-").slice(0, 63).replace(/-+$/, "");
    const isTaken = wanted === "" || ports.some((one) => one.name === wanted);
    ports.push({
      name: isTaken ? `port-${port}` : wanted,
      port,
      protocol: "TCP",
      appProtocol: protocol.toLowerCase(),
    });
  }
  return ports;
}

/** A name without a registry stands for another image of the same registry and version. */
export function imageOf({ metadata }: Gateway, image: string): string {
  const own = metadata.annotations?.[ANNOTATION.proxyImage] || image;
  if (own.includes("/") || own === image) return own;
  const [, registry = "", version = ""] = /^(.*\/)?[^/:@]+(.*)$/.exec(image) ?? [];
  return `${registry}${own}${/[:@]/.test(own) ? "" : version}`;
}

/** Istio's levels and ours. */
const LOG_LEVELS: Readonly<Record<string, string>> = {
  trace: "trace",
  debug: "debug",
  info: "info",
  warn: "warn",
  warning: "warn",
  error: "error",
  fatal: "fatal",
  critical: "fatal",
  off: "silent",
  none: "silent",
};

/** The proxy's level before the agent's, which is a list of scopes; what is unknown is not said. */
export function logLevelOf({ metadata }: Gateway): string | undefined {
  const { [ANNOTATION.logLevel]: own, [ANNOTATION.agentLogLevel]: scopes = "" } =
    metadata.annotations ?? {};
  const known = (level = "") => (Object.hasOwn(LOG_LEVELS, level) ? LOG_LEVELS[level] : undefined);
  const ofAll = scopes.split(",").map((scope) => /^(?:(?:default|all):)?(\w+)$/.exec(scope)?.[1]);
  return known(own) ?? ofAll.map(known).find((level) => level !== undefined);
}
