/**
 * Makes src/api/schemas/ from the @kubernetes-models packages: for each kind a JSON schema that
 * says which fields there are and which values they take.
 *
 * `node tools/generate.ts` (Node ≥ 22.18); the output is committed. The packages want a newer Node
 * at run time than we support, so they are read here and nothing of them is loaded in the product.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { mapParts, withAdditions } from "./schemas/additions.ts";
import { Declarations, type Shape } from "./schemas/declarations.ts";
import { boundIntegers, refine } from "./schemas/refinements.ts";
import { type Constraints, constraintsOf, type Schema } from "./schemas/validators.ts";
import { WRITTEN } from "./schemas/written.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MODULES = join(ROOT, "node_modules");
const OUT = join(ROOT, "src/api/schemas");
const CORE = "kubernetes-models";
const GATEWAY = "@kubernetes-models/gateway-api";
const ISTIO = "@kubernetes-models/istio";
const X_GATEWAY = "gateway.networking.x-k8s.io";

/** Kind → package, group and version (the one with most fields), prefix of its validator. */
const KINDS: Readonly<Record<string, readonly [string, string, string]>> = {
  ConfigMap: [CORE, "v1", "IoK8sApiCoreV1"],
  DaemonSet: [CORE, "apps/v1", "IoK8sApiAppsV1"],
  Deployment: [CORE, "apps/v1", "IoK8sApiAppsV1"],
  EndpointSlice: [CORE, "discovery.k8s.io/v1", "IoK8sApiDiscoveryV1"],
  Job: [CORE, "batch/v1", "IoK8sApiBatchV1"],
  Namespace: [CORE, "v1", "IoK8sApiCoreV1"],
  Pod: [CORE, "v1", "IoK8sApiCoreV1"],
  Service: [CORE, "v1", "IoK8sApiCoreV1"],
  ServiceAccount: [CORE, "v1", "IoK8sApiCoreV1"],
  StatefulSet: [CORE, "apps/v1", "IoK8sApiAppsV1"],
  ...Object.fromEntries(
    [
      ["BackendTLSPolicy", "v1"],
      ["GRPCRoute", "v1"],
      ["Gateway", "v1"],
      ["GatewayClass", "v1"],
      ["HTTPRoute", "v1"],
      ["ReferenceGrant", "v1"],
      ["TCPRoute", "v1alpha2"],
      ["TLSRoute", "v1"],
    ].map(([kind, version]) => {
      const prefix = `IoK8sSigsGatewayApiApis${upperFirst(version!)}`;
      return [kind!, [GATEWAY, `gateway.networking.k8s.io/${version}`, prefix] as const];
    }),
  ),
  XBackendTrafficPolicy: [GATEWAY, `${X_GATEWAY}/v1alpha1`, "IoK8sSigsGatewayApiApisxV1alpha1"],
  ...Object.fromEntries(
    [
      ["AuthorizationPolicy", "security.istio.io/v1"],
      ["PeerAuthentication", "security.istio.io/v1"],
      ["RequestAuthentication", "security.istio.io/v1"],
      ["DestinationRule", "networking.istio.io/v1"],
      ["EnvoyFilter", "networking.istio.io/v1alpha3"],
      ["ProxyConfig", "networking.istio.io/v1beta1"],
      ["ServiceEntry", "networking.istio.io/v1"],
      ["Sidecar", "networking.istio.io/v1"],
      ["VirtualService", "networking.istio.io/v1"],
      ["WorkloadEntry", "networking.istio.io/v1"],
      ["WorkloadGroup", "networking.istio.io/v1"],
      ["Telemetry", "telemetry.istio.io/v1"],
      ["WasmPlugin", "extensions.istio.io/v1alpha1"],
    ].map(([kind, version]) => {
      const prefix = version!.split(/[./]/).map(upperFirst).join("");
      return [kind!, [ISTIO, version!, prefix] as const];
    }),
  ),
};

const OPEN: Schema = {};
const TEXTS: Schema = { type: "object", additionalProperties: { type: "string" } };

/**
 * What a mesh does not read of a Pod is left open: it is most of the schema, and none of our
 * business.
 */
const CONTAINERS: Schema = {
  type: "array",
  items: {
    type: "object",
    required: ["name"],
    properties: {
      name: { type: "string" },
      ports: {
        type: "array",
        items: {
          type: "object",
          additionalProperties: false,
          required: ["containerPort"],
          properties: {
            containerPort: { type: "integer", minimum: 1, maximum: 65535 },
            hostIP: { type: "string" },
            hostPort: { type: "integer", minimum: 0, maximum: 65535 },
            name: { type: "string" },
            protocol: { type: "string", enum: ["SCTP", "TCP", "UDP"] },
          },
        },
      },
    },
  },
};
const POD_SPEC: Schema = {
  type: "object",
  properties: {
    serviceAccountName: { type: "string" },
    serviceAccount: { type: "string" },
    nodeName: { type: "string" },
    hostNetwork: { type: "boolean" },
    containers: CONTAINERS,
    initContainers: CONTAINERS,
  },
};

const DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
/** Only what people write is looked into; the rest is a controller's, or Kubernetes' own. */
const OBJECT_META: Schema = {
  type: "object",
  additionalProperties: false,
  properties: {
    name: {
      type: "string",
      maxLength: 253,
      pattern: `^${DNS_LABEL}(\\.${DNS_LABEL})*$`,
      description: 'lower-case letters, digits, "-" and "."',
    },
    // Empty is as absent.
    namespace: {
      type: "string",
      maxLength: 63,
      pattern: `^(${DNS_LABEL})?$`,
      description: 'lower-case letters, digits and "-"',
    },
    labels: TEXTS,
    annotations: TEXTS,
    ...Object.fromEntries(
      [
        "clusterName",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
      ].map((name) => [name, OPEN]),
    ),
  },
};
/** Of a Pod's template: its names are not looked at. */
const TEMPLATE_META: Schema = {
  type: "object",
  properties: { labels: TEXTS, annotations: TEXTS },
};

/** Types whose schema is not taken from the packages. */
const GIVEN: readonly (readonly [RegExp, Schema])[] = [
  [/PodSpec$/, POD_SPEC],
  [/ObjectMeta$/, TEMPLATE_META],
  [/IntOrString$/, { type: ["integer", "string"] }],
  [/^(Date|.*(MicroTime|V1Time))$/, OPEN],
  [/Quantity$/, { type: ["string", "number"] }],
  [/RawExtension$|FieldsV1$|JSON$|PersistentVolumeClaim$/, OPEN],
];

/** The fields of the shape, with the values that the constraints allow. */
function schemaOf(shape: Shape | undefined, constraints: Constraints | undefined): Schema {
  if (shape?.schema !== undefined) return shape.schema;
  const schema: Schema = { ...constraints?.keywords };
  if (constraints === undefined && shape?.items !== undefined) schema.type = "array";
  if (constraints === undefined && shape?.fields !== undefined) schema.type = "object";
  const names = new Set([
    ...(shape?.fields?.keys() ?? []),
    ...(constraints?.properties.keys() ?? []),
  ]);
  if (names.size > 0) {
    schema.properties = Object.fromEntries(
      [...names].map((name) => [
        name,
        schemaOf(shape?.fields?.get(name), constraints?.properties.get(name)),
      ]),
    );
  }
  if (shape?.items !== undefined || constraints?.items !== undefined) {
    schema.items = schemaOf(shape?.items, constraints?.items);
  }
  if (shape?.values !== undefined || constraints?.values !== undefined) {
    schema.additionalProperties = schemaOf(shape?.values, constraints?.values);
  } else if (names.size > 0) schema.additionalProperties = false;
  return schema;
}

/** Parts that stand in several places are said once: the validator is compiled in half the time. */
function shareRepeated(schema: Schema): Schema {
  const counts = new Map<string, number>();
  const count = (part: Schema): Schema => {
    const text = JSON.stringify(part);
    const seen = counts.get(text) ?? 0;
    counts.set(text, seen + 1);
    if (seen === 0) mapParts(part, count);
    return part;
  };
  mapParts(schema, count);
  const names = new Map<string, string>();
  const definitions: Schema = {};
  const replace = (part: Schema): Schema => {
    const text = JSON.stringify(part);
    if (text.length < SHARED_LENGTH_MIN || counts.get(text)! < 2) return mapParts(part, replace);
    let name = names.get(text);
    if (name === undefined) {
      name = `part${names.size + 1}`;
      names.set(text, name);
      definitions[name] = mapParts(part, replace);
    }
    return { $ref: `#/$defs/${name}` };
  };
  const shared = mapParts(schema, replace);
  return names.size === 0 ? shared : { ...shared, $defs: definitions };
}

const SHARED_LENGTH_MIN = 120;

function kindSchema(
  kind: string,
  [pack, version, prefix]: readonly [string, string, string],
): Schema {
  const declarations = new Declarations(MODULES, GIVEN);
  const shape = declarations.shapeOf(join(MODULES, pack, version, `${kind}.d.ts`), `I${kind}`);
  const constraints = constraintsOf(
    join(MODULES, pack, "_schemas", `${prefix}${kind}.js`),
    MODULES,
  );
  const known = withAdditions(kind, schemaOf(shape, constraints));
  return wholeKind(kind, pack === CORE ? known : boundIntegers(known));
}

function writtenSchema(kind: string, spec: Schema): Schema {
  const known = { type: "object", required: ["apiVersion", "kind"], properties: { spec } };
  return wholeKind(kind, boundIntegers({ ...known, additionalProperties: false }));
}

/** With what all kinds have. */
function wholeKind(kind: string, schema: Schema): Schema {
  // The table of kinds says which versions there are; what a controller writes is not looked at.
  const head = { apiVersion: { type: "string" }, kind: { type: "string" }, metadata: OBJECT_META };
  const properties = { ...(schema.properties as object), ...head, status: OPEN };
  const required = ((schema.required as string[] | undefined) ?? []).filter(
    (name) => name !== "status",
  );
  const whole = { ...schema, properties, required: [...new Set([...required, "metadata"])] };
  return shareRepeated(refine(kind, whole));
}

function upperFirst(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1);
}

mkdirSync(OUT, { recursive: true });
const schemas = [
  ...Object.entries(KINDS).map(([kind, source]) => [kind, kindSchema(kind, source)] as const),
  ...Object.entries(WRITTEN).map(([kind, spec]) => [kind, writtenSchema(kind, spec)] as const),
];
for (const [kind, schema] of schemas) {
  const json = JSON.stringify(schema);
  const file = kind.replace(/([a-z])([A-Z])|([A-Z]+)([A-Z][a-z])/g, "$1$3-$2$4").toLowerCase();
  const text = `/** Generated by tools/generate.ts. */\nexport const schema: object = ${json};\n`;
  writeFileSync(join(OUT, `${file}.ts`), text);
  process.stdout.write(`${kind} ${text.length}\n`);
}
