/**
 * Makes src/api/schemas/ from the types of the @kubernetes-models packages: for each kind a JSON
 * schema of its structure (fields, types, enums, what is required).
 *
 * `node tools/generate-schemas.mjs`; the output is committed. The packages want a newer Node at run
 * time than we support, so their types are read here and nothing of them is loaded in the product.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MODULES = join(ROOT, "node_modules");
const OUT = join(ROOT, "src/api/schemas");
const CORE = "kubernetes-models";
const GATEWAY = "@kubernetes-models/gateway-api/gateway.networking.k8s.io";
const ISTIO = "@kubernetes-models/istio";

/** Kind → the declaration with the widest set of fields among its versions. */
const KINDS = {
  ConfigMap: `${CORE}/v1/ConfigMap`,
  DaemonSet: `${CORE}/apps/v1/DaemonSet`,
  Deployment: `${CORE}/apps/v1/Deployment`,
  EndpointSlice: `${CORE}/discovery.k8s.io/v1/EndpointSlice`,
  Job: `${CORE}/batch/v1/Job`,
  Namespace: `${CORE}/v1/Namespace`,
  Pod: `${CORE}/v1/Pod`,
  Service: `${CORE}/v1/Service`,
  ServiceAccount: `${CORE}/v1/ServiceAccount`,
  StatefulSet: `${CORE}/apps/v1/StatefulSet`,
  GRPCRoute: `${GATEWAY}/v1/GRPCRoute`,
  Gateway: `${GATEWAY}/v1/Gateway`,
  GatewayClass: `${GATEWAY}/v1/GatewayClass`,
  HTTPRoute: `${GATEWAY}/v1/HTTPRoute`,
  ReferenceGrant: `${GATEWAY}/v1beta1/ReferenceGrant`,
  TCPRoute: `${GATEWAY}/v1alpha2/TCPRoute`,
  TLSRoute: `${GATEWAY}/v1alpha3/TLSRoute`,
  AuthorizationPolicy: `${ISTIO}/security.istio.io/v1/AuthorizationPolicy`,
  PeerAuthentication: `${ISTIO}/security.istio.io/v1/PeerAuthentication`,
  RequestAuthentication: `${ISTIO}/security.istio.io/v1/RequestAuthentication`,
  DestinationRule: `${ISTIO}/networking.istio.io/v1/DestinationRule`,
  EnvoyFilter: `${ISTIO}/networking.istio.io/v1alpha3/EnvoyFilter`,
  ProxyConfig: `${ISTIO}/networking.istio.io/v1beta1/ProxyConfig`,
  ServiceEntry: `${ISTIO}/networking.istio.io/v1/ServiceEntry`,
  Sidecar: `${ISTIO}/networking.istio.io/v1/Sidecar`,
  VirtualService: `${ISTIO}/networking.istio.io/v1/VirtualService`,
  WorkloadEntry: `${ISTIO}/networking.istio.io/v1/WorkloadEntry`,
  WorkloadGroup: `${ISTIO}/networking.istio.io/v1/WorkloadGroup`,
  Telemetry: `${ISTIO}/telemetry.istio.io/v1/Telemetry`,
  WasmPlugin: `${ISTIO}/extensions.istio.io/v1alpha1/WasmPlugin`,
};

/** What a mesh does not read of a Pod is left open: it is most of the schema, and none of our business. */
const POD_SPEC = {
  type: "object",
  properties: {
    serviceAccountName: { type: "string" },
    serviceAccount: { type: "string" },
    nodeName: { type: "string" },
    hostNetwork: { type: "boolean" },
    containers: { type: "array", items: { type: "object" } },
  },
};

const OBJECT_META = {
  type: "object",
  properties: {
    name: { type: "string" },
    namespace: { type: "string" },
    labels: { type: "object", additionalProperties: { type: "string" } },
    annotations: { type: "object", additionalProperties: { type: "string" } },
  },
};

/** Types whose structure is not taken from the declaration. */
const KNOWN_TYPES = [
  [/PodSpec$/, POD_SPEC],
  [/ObjectMeta$/, OBJECT_META],
  [/IntOrString$/, { type: ["integer", "string"] }],
  [/^(Date|.*(MicroTime|V1Time))$/, {}],
  [/Quantity$/, { type: ["string", "number"] }],
  [/RawExtension$|FieldsV1$|JSON$/, {}],
];

/** Numbers of these fields are whole; ports are ports. */
const PORT = /^(port|nodePort|containerPort|hostPort|number|targetPort)$/;

class Parser {
  constructor(text, resolve) {
    this.text = text;
    this.at = 0;
    this.resolve = resolve;
  }
  skip() {
    for (;;) {
      while (/\s/.test(this.text[this.at] ?? "")) this.at++;
      if (this.text.startsWith("/*", this.at)) this.at = this.text.indexOf("*/", this.at) + 2;
      else if (this.text.startsWith("//", this.at)) this.at = this.text.indexOf("\n", this.at) + 1;
      else return;
    }
  }
  take(token) {
    this.skip();
    if (!this.text.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }
  expect(token) {
    if (!this.take(token)) throw new Error(`expected ${token} at ${this.text.slice(this.at, this.at + 60)}`);
  }
  match(pattern) {
    this.skip();
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return undefined;
    this.at = pattern.lastIndex;
    return found[0];
  }
  object() {
    const schema = { type: "object", properties: {}, additionalProperties: false };
    const required = [];
    while (!this.take("}")) {
      if (this.take("[")) {
        this.match(/\w+\s*:\s*\w+\s*\]/y);
        this.expect(":");
        schema.additionalProperties = this.type();
      } else {
        const name = this.match(/"[^"]+"|\w+/y).replaceAll('"', "");
        const isOptional = this.take("?");
        this.expect(":");
        schema.properties[name] = refine(name, this.type());
        if (!isOptional) required.push(name);
      }
      this.take(";");
    }
    if (required.length) schema.required = required;
    if (Object.keys(schema.properties).length === 0) {
      delete schema.properties;
      if (schema.additionalProperties === false) schema.additionalProperties = true;
    }
    return schema;
  }
  type() {
    const options = [this.single()];
    while (this.take("|")) options.push(this.single());
    return union(options);
  }
  single() {
    let schema;
    const literal = this.match(/"(?:[^"\\]|\\.)*"/y);
    if (literal !== undefined) schema = { const: JSON.parse(literal) };
    else if (this.take("{")) schema = this.object();
    else if (this.take("(")) {
      schema = this.type();
      this.expect(")");
    } else {
      const name = this.match(/[\w.]+/y);
      schema = this.named(name);
    }
    while (this.take("[]")) schema = { type: "array", items: schema };
    // What is joined to a structure: more fields, or conditions ("this or that, not both"; left out).
    while (this.take("&")) schema = merge(schema, this.single());
    return schema;
  }
  named(name) {
    if (name === "Array") {
      this.expect("<");
      const items = this.type();
      this.expect(">");
      return { type: "array", items };
    }
    if (name === "Record") {
      this.expect("<");
      this.type();
      this.expect(",");
      const values = this.type();
      this.expect(">");
      return { type: "object", additionalProperties: values };
    }
    if (name === "string" || name === "boolean" || name === "number") return { type: name };
    if (name === "any" || name === "unknown" || name === "never") return {};
    if (this.take("<")) {
      do this.type();
      while (this.take(","));
      this.expect(">");
      return {};
    }
    if (name === "null") return { type: "null" };
    if (/^\d+$/.test(name)) return { const: Number(name) };
    return this.resolve(name);
  }
}

/** A structure that has the fields of both. */
function merge(one, other) {
  if (one.type !== "object" || other.type !== "object") return one;
  const required = [...(one.required ?? []), ...(other.required ?? [])];
  const properties = { ...other.properties, ...one.properties };
  const merged = { ...one, properties, additionalProperties: one.additionalProperties || other.additionalProperties };
  if (Object.keys(properties).length > 0 && !one.properties) merged.additionalProperties = other.additionalProperties;
  return required.length ? { ...merged, required } : merged;
}

/** A field's number is whole unless it says otherwise. */
function refine(name, schema) {
  if (schema.type !== "number") return schema;
  if (/ercent|atio|consecutive.*Percent/i.test(name)) return schema;
  return PORT.test(name) ? { type: "integer", minimum: 0, maximum: 65535 } : { type: "integer" };
}

function union(options) {
  if (options.length === 1) return options[0].const === undefined ? options[0] : { enum: [options[0].const] };
  if (options.every((o) => o.const !== undefined)) return { enum: options.map((o) => o.const) };
  const types = options.map((o) => o.type);
  if (types.every((t) => typeof t === "string" && !["object", "array"].includes(t))) return { type: types };
  return { anyOf: options };
}

function locate(specifier, from) {
  const base = specifier.startsWith(".")
    ? join(dirname(from), specifier.replace(/\.js$/, ""))
    : join(MODULES, specifier.replace(/\.js$/, ""));
  for (const path of [`${base}.d.ts`, join(base, "index.d.ts")]) if (existsSync(path)) return path;
  throw new Error(`${specifier} from ${from}`);
}

function schemaOf(file, name, seen) {
  for (const [pattern, known] of KNOWN_TYPES) if (pattern.test(name)) return known;
  const key = `${file}#${name}`;
  if (seen.includes(key)) return {};
  const text = readFileSync(file, "utf8");
  const alias = new RegExp(`(\\w+) as ${name}\\b`).exec(text.slice(text.lastIndexOf("export type {")));
  const local = alias ? alias[1] : name;
  const resolve = (other) => {
    const imported = new RegExp(`import \\{[^}]*\\b${other}\\b[^}]*\\} from "([^"]+)"`).exec(text);
    if (imported) return schemaOf(locate(imported[1], file), other, [...seen, key]);
    return schemaOf(file, other, [...seen, key]);
  };
  const declared = new RegExp(`export interface ${local}(?: extends ([\\w, ]+))? \\{`).exec(text);
  if (declared) {
    const parser = new Parser(text, resolve);
    parser.at = declared.index + declared[0].length;
    const own = parser.object();
    const bases = (declared[1] ?? "").split(",").map((base) => base.trim()).filter((base) => base && base !== "TypeMeta");
    return bases.map(resolve).reduce(merge, own);
  }
  const aliased = new RegExp(`export (?:declare )?type ${local} = `).exec(text);
  if (aliased) {
    const parser = new Parser(text, resolve);
    parser.at = aliased.index + aliased[0].length;
    return parser.type();
  }
  throw new Error(`no ${local} in ${file}`);
}

mkdirSync(OUT, { recursive: true });
for (const [kind, path] of Object.entries(KINDS)) {
  const schema = schemaOf(join(MODULES, `${path}.d.ts`), `I${kind}`, []);
  // What a controller writes is not what people write.
  schema.properties = { ...schema.properties, apiVersion: { type: "string" }, kind: { type: "string" }, metadata: OBJECT_META, status: {} };
  delete schema.properties.status.type;
  schema.required = (schema.required ?? []).filter((name) => name !== "status" && name !== "metadata");
  const file = kind.replace(/([a-z])([A-Z])|([A-Z]+)([A-Z][a-z])/g, "$1$3-$2$4").toLowerCase();
  const text = `/** Generated by tools/generate-schemas.mjs. */\nexport const schema: object = ${JSON.stringify(schema)};\n`;
  writeFileSync(join(OUT, `${file}.ts`), text);
  process.stdout.write(`${kind} ${text.length}\n`);
}
