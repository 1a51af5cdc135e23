/**
 * Parts of objects that the webhook set judges by themselves: each in the place in an object where
 * it stands, judged by the rules of that object, of which only what is said of the part counts.
 */
import { Ajv } from "ajv";
import { KINDS, type Kind, type KindName } from "../../../src/api/kinds.ts";
import type { KubeObject } from "../../../src/api/object.ts";
import { ruleDiagnostics } from "../../../src/api/validate/rules.ts";
import { type Diagnostic, diagnostic } from "../../../src/kit/diagnostic.ts";

interface Part {
  readonly kind: KindName;
  /** Where it stands: `spec.servers[]`. */
  readonly at: string;
  /** What has to be around it. */
  readonly around?: (part: unknown) => object;
}

const NOWHERE = { file: "", line: 1, column: 1 };
const ROUTE = { destination: { host: "a.example.com" } };

const inRoute = (field: string): Part => ({
  kind: "VirtualService",
  at: `spec.http[].${field}`,
  around: (part) => ({ hosts: ["a.example.com"], http: [{ route: [ROUTE], [field]: part }] }),
});
const inPolicy = (field: string): Part => ({
  kind: "DestinationRule",
  at: `spec.trafficPolicy.${field}`,
  around: (part) => ({ host: "a.example.com", trafficPolicy: { [field]: part } }),
});
const inFault = (field: string): Part => ({
  kind: "VirtualService",
  at: `spec.http[].fault.${field}`,
  around: (part) => ({
    hosts: ["a.example.com"],
    http: [{ route: [ROUTE], fault: { [field]: part } }],
  }),
});
/** An answer takes the place of the route. */
const inAnswer = (field: string): Part => ({
  kind: "VirtualService",
  at: `spec.http[].${field}`,
  around: (part) => ({ hosts: ["a.example.com"], http: [{ [field]: part }] }),
});

const SERVER = { hosts: ["a.example.com"], port: { number: 443, name: "a", protocol: "HTTPS" } };

const PARTS: Readonly<Record<string, Part>> = {
  ConnectionPoolSettings: inPolicy("connectionPool"),
  CorsPolicy: inRoute("corsPolicy"),
  Destination: {
    kind: "VirtualService",
    at: "spec.http[].route[].destination",
    around: (part) => ({ hosts: ["a.example.com"], http: [{ route: [{ destination: part }] }] }),
  },
  HTTPDirectResponse: inAnswer("directResponse"),
  HTTPFaultInjection_Abort: inFault("abort"),
  HTTPFaultInjection_Delay: inFault("delay"),
  HTTPRedirect: inAnswer("redirect"),
  HTTPRetry: inRoute("retries"),
  HTTPRewrite: inRoute("rewrite"),
  LoadBalancerSettings: inPolicy("loadBalancer"),
  OutlierDetection: inPolicy("outlierDetection"),
  Port: {
    kind: "IstioGateway",
    at: "spec.servers[].port",
    around: (part) => ({ servers: [{ hosts: ["a.example.com"], port: part }] }),
  },
  RegexRewrite: {
    kind: "VirtualService",
    at: "spec.http[].rewrite.uriRegexRewrite",
    around: (part) => ({
      hosts: ["a.example.com"],
      http: [{ route: [ROUTE], rewrite: { uriRegexRewrite: part } }],
    }),
  },
  Server: { kind: "IstioGateway", at: "spec.servers[]", around: (part) => ({ servers: [part] }) },
  ServerTLSSettings: {
    kind: "IstioGateway",
    at: "spec.servers[].tls",
    around: (part) => ({ servers: [{ ...SERVER, tls: part }] }),
  },
  TrafficPolicy: {
    kind: "DestinationRule",
    at: "spec.trafficPolicy",
    around: (part) => ({ host: "a.example.com", trafficPolicy: part }),
  },
  HTTPRoute: {
    kind: "VirtualService",
    at: "spec.http[]",
    around: (part) => ({ hosts: ["a.example.com"], http: [part] }),
  },
};

/** Of a root: with hosts; of a delegate: without. */
function partOf(type: string, name: string): Part {
  const part = PARTS[type];
  if (part === undefined) throw new Error(`no place is known for a ${type}`);
  if (type !== "HTTPRoute" || !name.startsWith("TestValidateDelegateHTTPRoute")) return part;
  return { ...part, around: (http) => ({ http: [http] }) };
}

/**
 * The set's parts come from structures of Go: a field that is a word of that language has a name of
 * its own there, and items of lists may be nothing, which an API server refuses before.
 */
function asObject(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((item) => item !== null).map(asObject);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value);
  return Object.fromEntries(
    fields.map(([name, inner]) => [name === "string_" ? "string" : name, asObject(inner)]),
  );
}

export async function partDiagnostics(
  type: string,
  name: string,
  given: unknown,
): Promise<readonly Diagnostic[]> {
  const { kind, at, around } = partOf(type, name);
  const fragment = asObject(given);
  const bySchema = await schemaProblems(kind, at, fragment);
  if (bySchema.length > 0) return bySchema;
  const { group, versions, spelling = kind }: Kind = KINDS[kind];
  const value: KubeObject = {
    apiVersion: `${group}/${versions[0]}`,
    kind: spelling,
    metadata: { name: "a", namespace: "default" },
    spec: around?.(fragment),
  };
  const raw = {
    value,
    position: NOWHERE,
    positionOf: () => NOWHERE,
    positionOfKey: () => NOWHERE,
  };
  const place = at.replaceAll("[]", "[0]");
  return ruleDiagnostics(kind, raw, "a").filter(({ path }) => path?.startsWith(place));
}

type Schema = Readonly<Record<string, unknown>>;

async function schemaProblems(kind: KindName, at: string, value: unknown): Promise<Diagnostic[]> {
  const whole = (await (KINDS[kind] as Kind).schema?.())?.schema as Schema;
  const definitions = (whole.$defs ?? {}) as Record<string, Schema>;
  const resolved = (part: Schema): Schema =>
    typeof part.$ref === "string" ? resolved(definitions[part.$ref.split("/").at(-1)!]!) : part;
  let part = whole;
  for (const step of at.match(/\w+|\[\]/g)!) {
    const here = resolved(part);
    part = (step === "[]" ? here.items : (here.properties as Schema)[step]) as Schema;
  }
  const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false });
  const validate = ajv.compile({ ...resolved(part), $defs: definitions });
  if (validate(value)) return [];
  return (validate.errors ?? []).map(({ instancePath, message }) =>
    diagnostic("WS0002", `${instancePath}: ${message}`),
  );
}
