/**
 * What a schema cannot say of an object: fields that exclude or need each other, names that may
 * stand once, values with a form of their own. These are the rules that an API server (the CEL of
 * the kinds' definitions) and Istio's validating webhook judge by.
 *
 * Pure, and of one object alone: whether what it names exists is the analyzer's question.
 */
import { type Diagnostic, diagnostic } from "../../kit/diagnostic.ts";
import { KINDS, type KindName } from "../kinds.ts";
import { formatFieldPath, type KubeObject } from "../object.ts";
import { schemaDiagnostics } from "../schema.ts";
import type { RawObject } from "../yaml.ts";
import { annotationProblems } from "./annotations.ts";
import { authorizationPolicyProblems } from "./authorization-policy.ts";
import {
  backendTlsPolicyProblems,
  backendTrafficPolicyProblems,
  tcpRouteProblems,
  tlsRouteProblems,
} from "./backend-policies.ts";
import { destinationRuleProblems } from "./destination-rule.ts";
import { trafficExtensionProblems, wasmPluginProblems } from "./extensions.ts";
import { gatewayProblems } from "./gateway.ts";
import { grpcRouteProblems } from "./grpc-route.ts";
import { httpRouteProblems } from "./http-route.ts";
import { istioGatewayProblems } from "./istio-gateway.ts";
import {
  envoyFilterProblems,
  peerAuthenticationProblems,
  proxyConfigProblems,
  sidecarProblems,
  workloadEntryProblems,
  workloadGroupProblems,
} from "./istio-kinds.ts";
import type { Problems } from "./problem.ts";
import { requestAuthenticationProblems } from "./request-authentication.ts";
import { serviceEntryProblems } from "./service-entry.ts";
import { telemetryProblems } from "./telemetry.ts";
import { virtualServiceProblems } from "./virtual-service.ts";

/** The object has passed its kind's schema. */
type Rules = (object: KubeObject) => Problems;

const RULES: Partial<Record<KindName, Rules>> = {
  AuthorizationPolicy: authorizationPolicyProblems,
  BackendTLSPolicy: backendTlsPolicyProblems,
  DestinationRule: destinationRuleProblems,
  EnvoyFilter: envoyFilterProblems,
  GRPCRoute: grpcRouteProblems,
  Gateway: gatewayProblems,
  HTTPRoute: httpRouteProblems,
  IstioGateway: istioGatewayProblems,
  PeerAuthentication: peerAuthenticationProblems,
  ProxyConfig: proxyConfigProblems,
  RequestAuthentication: requestAuthenticationProblems,
  ServiceEntry: serviceEntryProblems,
  Sidecar: sidecarProblems,
  TCPRoute: tcpRouteProblems,
  TLSRoute: tlsRouteProblems,
  Telemetry: telemetryProblems,
  TrafficExtension: trafficExtensionProblems,
  VirtualService: virtualServiceProblems,
  WasmPlugin: wasmPluginProblems,
  WorkloadEntry: workloadEntryProblems,
  WorkloadGroup: workloadGroupProblems,
  XBackendTrafficPolicy: backendTrafficPolicyProblems,
};

/** More than these say nothing new of one object. */
const PROBLEMS_MAX = 100;

/** What the rules of its kind find in an object that its schema allows. */
export function ruleDiagnostics(kind: KindName, raw: RawObject, object: string): Diagnostic[] {
  const found: Diagnostic[] = [];
  for (const { path, message, code = "WS0008" } of problemsOf(kind, raw.value as KubeObject)) {
    const place = { object, path: formatFieldPath(path), ...raw.positionOf(path) };
    found.push(diagnostic(code, `${formatFieldPath(path) || "the object"}: ${message}`, place));
    if (found.length === PROBLEMS_MAX) break;
  }
  return found;
}

function* problemsOf(kind: KindName, value: KubeObject): Problems {
  if (KINDS[kind].group.endsWith(".istio.io")) yield* annotationProblems(value);
  yield* RULES[kind]?.(value) ?? [];
}

/** What schema and rules find. Of an object of another form the rules would speak nonsense. */
export function objectDiagnostics(kind: KindName, raw: RawObject, object: string): Diagnostic[] {
  const found = schemaDiagnostics(kind, raw, object);
  return found.length > 0 ? found : ruleDiagnostics(kind, raw, object);
}
