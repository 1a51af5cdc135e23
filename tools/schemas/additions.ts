/**
 * What the packages are behind with: fields that the definitions of the kinds have since gained.
 *
 * A field that stands wherever the new ones do names the place.
 */
import type { Schema } from "./validators.ts";

interface Addition {
  readonly kind: string;
  /** A field that stands wherever the added ones do. */
  readonly beside: string;
  readonly fields: Schema;
}

const TEXT: Schema = { type: "string" };
const TEXT_LIST: Schema = { type: "array", items: TEXT };
const UINT32: Schema = { type: "integer", minimum: 0, maximum: 4294967295 };

function fields(properties: Schema, required?: readonly string[]): Schema {
  const schema: Schema = { type: "object", properties, additionalProperties: false };
  return required === undefined ? schema : { ...schema, required };
}

const FAILOVER: Schema = { type: "array", items: fields({ from: TEXT, to: TEXT }) };

const KEEP_ALIVE: Schema = { http2KeepAlive: fields({ interval: TEXT, timeout: TEXT }) };

/** A cookie's or a header's name. */
const TOKEN: Schema = {
  type: "string",
  minLength: 1,
  maxLength: 256,
  pattern: "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$",
};

const ADDITIONS: readonly Addition[] = [
  {
    kind: "AuthorizationPolicy",
    beside: "notServiceAccounts",
    fields: { trustDomains: TEXT_LIST, notTrustDomains: TEXT_LIST },
  },
  { kind: "DestinationRule", beside: "http2MaxRequests", fields: KEEP_ALIVE },
  { kind: "DestinationRule", beside: "minRetryConcurrency", fields: { budgetInterval: TEXT } },
  {
    kind: "DestinationRule",
    beside: "splitExternalLocalOriginErrors",
    fields: {
      outlierDetectionHttpErrorCodes: {
        type: "array",
        items: { type: "integer", minimum: 100, maximum: 599 },
      },
    },
  },
  {
    kind: "DestinationRule",
    beside: "localityLbSetting",
    fields: {
      backendUtilization: fields({
        errorUtilizationPenaltyPercent: UINT32,
        metricNamesForComputingUtilization: TEXT_LIST,
        weightExpirationPeriod: TEXT,
        weightStabilizationPeriod: TEXT,
        weightUpdatePeriod: TEXT,
      }),
      zoneAwareLbSetting: fields({
        enabled: { type: "boolean" },
        failover: FAILOVER,
        failoverPriority: TEXT_LIST,
        minClusterSize: { ...UINT32, minimum: 1 },
      }),
    },
  },
  { kind: "EnvoyFilter", beside: "transportProtocol", fields: { transportSocket: TEXT } },
  { kind: "Sidecar", beside: "http2MaxRequests", fields: KEEP_ALIVE },
  {
    kind: "Sidecar",
    beside: "cipherSuites",
    fields: { ecdhCurves: TEXT_LIST, insecureSkipVerify: { type: "boolean" } },
  },
  {
    kind: "Telemetry",
    beside: "disableSpanReporting",
    fields: { disableContextPropagation: { type: "boolean" } },
  },
  { kind: "VirtualService", beside: "redirectCode", fields: { prefixRewrite: TEXT } },
  {
    kind: "XBackendTrafficPolicy",
    beside: "absoluteTimeout",
    fields: {
      cookie: fields({
        name: TOKEN,
        path: { type: "string", maxLength: 1024 },
        lifetimeType: { type: "string", enum: ["Permanent", "Session"] },
      }),
      header: fields({ name: TOKEN }, ["name"]),
    },
  },
];

/** The schema of a kind with what it has gained. */
export function withAdditions(kind: string, schema: Schema): Schema {
  const gained = ADDITIONS.filter((addition) => addition.kind === kind);
  return gained.reduce(withAddition, schema);
}

function withAddition(schema: Schema, addition: Addition): Schema {
  const mapped = mapParts(schema, (part) => withAddition(part, addition));
  const properties = mapped.properties as Schema | undefined;
  if (properties === undefined || !Object.hasOwn(properties, addition.beside)) return mapped;
  return { ...mapped, properties: { ...properties, ...addition.fields } };
}

/** The schema with its fields', items' and values' schemas changed. */
export function mapParts(schema: Schema, change: (part: Schema, name?: string) => Schema): Schema {
  const mapped = { ...schema };
  const { properties, items, additionalProperties } = schema;
  if (properties !== undefined) {
    const parts = Object.entries(properties as Record<string, Schema>);
    mapped.properties = Object.fromEntries(parts.map(([name, part]) => [name, change(part, name)]));
  }
  if (items !== undefined) mapped.items = change(items as Schema);
  if (typeof additionalProperties === "object") {
    mapped.additionalProperties = change(additionalProperties as Schema);
  }
  return mapped;
}
