/** Services: model ⇄ `istio.workload.Service`. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ObjectRef, SourcePosition } from "../model/object-ref.ts";
import type { LoadBalancing, Service, ServicePort } from "../model/service.ts";
import { nameOf, portOf } from "./enums.ts";
import { originExtension, readOrigin } from "./extension.ts";
import {
  type BindingOrigin,
  bindingOrigin,
  bindingShape,
  decodeBinding,
  encodeBinding,
} from "./gateway-address.ts";
import {
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  Port_AppProtocol,
  ServiceSchema,
  type Service as WireService,
} from "./gen/istio/workload_pb.ts";
import { ipBytes, ipText } from "./ip.ts";
import { JsonReader, list, objectRef, position, record, text } from "./shapes.ts";

interface ServiceOrigin {
  readonly source: ObjectRef;
  readonly position?: SourcePosition;
  readonly portNames: readonly string[];
  readonly waypoint?: BindingOrigin;
}

const ORIGIN = new JsonReader<ServiceOrigin>(
  record({ source: objectRef, portNames: list(text) }, { position, waypoint: bindingShape }),
);

export interface EncodingOptions {
  /** The network that addresses are on. */
  readonly network: string;
  /** `compatibility: istio`: a binding that came to nothing is none. */
  readonly ignoresUnusable: boolean;
}

export function encodeService(
  service: Service,
  { network, ignoresUnusable }: EncodingOptions,
): MessageInitShape<typeof ServiceSchema> {
  const { name, namespace, hostname, source, position: at } = service;
  const isIgnored = ignoresUnusable && service.waypoint?.state === "unusable";
  const waypoint = bindingOrigin(service.waypoint);
  const portNames = service.ports.map((port) => port.name);
  const origin: ServiceOrigin = {
    source,
    portNames,
    ...(at && { position: at }),
    ...(waypoint && { waypoint }),
  };
  return create(ServiceSchema, {
    name,
    namespace,
    hostname,
    addresses: service.addresses.flatMap((address) => {
      const bytes = ipBytes(address);
      return bytes === undefined ? [] : [{ network, address: bytes }];
    }),
    ports: service.ports.map((port) => ({
      servicePort: port.port,
      targetPort: port.targetPort,
      appProtocol: Port_AppProtocol[port.protocol],
    })),
    subjectAltNames: [...service.subjectAltNames],
    ...(isIgnored ? {} : withWaypoint(encodeBinding(service.waypoint))),
    ...encodeLoadBalancing(service.loadBalancing),
    extensions: [originExtension(origin)],
    canonical: service.canonical,
    ingressUseWaypoint: service.ingressUseWaypoint,
  });
}

function withWaypoint(waypoint: ReturnType<typeof encodeBinding>) {
  return waypoint === undefined ? {} : { waypoint };
}

/** Left out when it says nothing. */
function encodeLoadBalancing(lb: LoadBalancing) {
  const isPlain = lb.mode === "UNSPECIFIED" && lb.healthPolicy === "ONLY_HEALTHY";
  if (isPlain && lb.routingPreference.length === 0) return {};
  return {
    loadBalancing: {
      routingPreference: lb.routingPreference.map((scope) => LoadBalancing_Scope[scope]),
      mode: LoadBalancing_Mode[lb.mode === "UNSPECIFIED" ? "UNSPECIFIED_MODE" : lb.mode],
      healthPolicy: LoadBalancing_HealthPolicy[lb.healthPolicy],
    },
  };
}

/** Throws with what is wrong. */
export function decodeService(message: WireService): Service {
  const { name, namespace, hostname } = message;
  if (namespace === "" || hostname === "") throw new Error("no namespace or hostname");
  // The key is taken apart at its one slash.
  if (`${namespace}${hostname}`.includes("/")) throw new Error("a slash in namespace or hostname");
  const origin = readOrigin(message.extensions, ORIGIN);
  const wanted = origin?.waypoint;
  const isUnusable = message.waypoint === undefined && wanted?.reason !== undefined;
  return {
    key: `${namespace}/${hostname}`,
    name,
    namespace,
    hostname,
    addresses: message.addresses.map(({ address }) => addressText(address)),
    ports: message.ports.map((port, index): ServicePort => {
      const protocol = nameOf(Port_AppProtocol, port.appProtocol, "app_protocol");
      const name = origin?.portNames[index] ?? "";
      return {
        port: portOf(port.servicePort),
        targetPort: portOf(port.targetPort),
        name,
        protocol,
      };
    }),
    subjectAltNames: message.subjectAltNames,
    waypoint: isUnusable
      ? { state: "unusable", waypoint: wanted.waypoint, reason: wanted.reason! }
      : decodeBinding(message.waypoint, wanted),
    ingressUseWaypoint: message.ingressUseWaypoint,
    loadBalancing: decodeLoadBalancing(message.loadBalancing),
    canonical: message.canonical,
    source: origin?.source ?? { kind: "Service", namespace, name },
    position: origin?.position,
  };
}

export function addressText(bytes: Uint8Array): string {
  const found = ipText(bytes);
  if (found === undefined) throw new Error(`an address of ${bytes.length} bytes`);
  return found;
}

const PLAIN: LoadBalancing = {
  mode: "UNSPECIFIED",
  routingPreference: [],
  healthPolicy: "ONLY_HEALTHY",
};

function decodeLoadBalancing(lb: WireService["loadBalancing"]): LoadBalancing {
  if (lb === undefined) return PLAIN;
  const mode = nameOf(LoadBalancing_Mode, lb.mode, "mode");
  return {
    mode: mode === "UNSPECIFIED_MODE" ? "UNSPECIFIED" : mode,
    routingPreference: lb.routingPreference.map((scope) => {
      const found = nameOf(LoadBalancing_Scope, scope, "routing_preference");
      if (found === "UNSPECIFIED_SCOPE") throw new Error("routing_preference without a scope");
      return found;
    }),
    healthPolicy: nameOf(LoadBalancing_HealthPolicy, lb.healthPolicy, "health_policy"),
  };
}
