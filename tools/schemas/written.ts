/**
 * Specifications of kinds that the packages do not have: newer than they are, or named like another
 * group's.
 */
import type { Schema } from "./validators.ts";

const TEXT: Schema = { type: "string" };
const NAME: Schema = { type: "string", minLength: 1, maxLength: 253 };
const GROUP_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const GROUP: Schema = { type: "string", maxLength: 253, pattern: `^$|^${GROUP_NAME}$` };
const KIND: Schema = {
  ...{ type: "string", minLength: 1, maxLength: 63 },
  pattern: "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$",
};
const PORT: Schema = { type: "integer", minimum: 1, maximum: 65535 };
const UNSIGNED: Schema = { type: "integer", minimum: 0, maximum: 4_294_967_295 };

function object(properties: Readonly<Record<string, Schema>>, ...required: string[]): Schema {
  const needed = required.length > 0 ? { required } : {};
  return { type: "object", ...needed, properties, additionalProperties: false };
}

const list = (items: Schema, more: Schema = {}): Schema => ({ type: "array", ...more, items });
const choice = (...values: string[]): Schema => ({ type: "string", enum: values });

const WASM = object(
  {
    url: { type: "string", minLength: 1 },
    type: choice("UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"),
    sha256: {
      ...{ type: "string", pattern: "(^$|^[a-f0-9]{64}$)" },
      description: "64 hexadecimal digits",
    },
    imagePullPolicy: choice("UNSPECIFIED_POLICY", "IfNotPresent", "Always"),
    imagePullSecret: NAME,
    verificationKey: TEXT,
    pluginConfig: { type: "object" },
    pluginName: { type: "string", minLength: 1, maxLength: 256 },
    failStrategy: choice("FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"),
    vmConfig: object({
      env: list(
        object(
          {
            name: { type: "string", minLength: 1, maxLength: 256 },
            value: { type: "string", maxLength: 2048 },
            valueFrom: choice("INLINE", "HOST"),
          },
          "name",
        ),
        { maxItems: 256 },
      ),
    }),
  },
  "url",
);

const TRAFFIC_EXTENSION = object({
  selector: object({
    matchLabels: {
      ...{ type: "object", maxProperties: 4096 },
      additionalProperties: { type: "string", maxLength: 63 },
    },
  }),
  targetRefs: list(
    object({ group: GROUP, kind: KIND, name: NAME, namespace: TEXT }, "kind", "name"),
    { maxItems: 16 },
  ),
  phase: choice("UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"),
  priority: { type: "integer" },
  match: list(
    object({
      mode: choice("UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"),
      ports: list(object({ number: PORT }, "number")),
    }),
  ),
  wasm: WASM,
  lua: object({ inlineCode: { type: "string", minLength: 1, maxLength: 65_536 } }, "inlineCode"),
});

const TLS_VERSION = choice("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3");

const SERVER_TLS = object({
  mode: choice(
    ...["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"],
  ),
  httpsRedirect: { type: "boolean" },
  insecureSkipVerify: { type: "boolean" },
  ...Object.fromEntries(
    [
      ...["caCertCredentialName", "caCertificates", "caCrl", "credentialName"],
      ...["privateKey", "serverCertificate"],
    ].map((name) => [name, TEXT]),
  ),
  ...Object.fromEntries(
    ["cipherSuites", "subjectAltNames", "verifyCertificateHash", "verifyCertificateSpki"].map(
      (name) => [name, list(TEXT)],
    ),
  ),
  credentialNames: list(TEXT, { minItems: 1, maxItems: 2 }),
  tlsCertificates: list(
    object({ caCertificates: TEXT, privateKey: TEXT, serverCertificate: TEXT }),
    { minItems: 1 },
  ),
  minProtocolVersion: TLS_VERSION,
  maxProtocolVersion: TLS_VERSION,
});

const ISTIO_GATEWAY = object({
  selector: { type: "object", additionalProperties: TEXT },
  servers: list(
    object(
      {
        ...{ name: TEXT, bind: TEXT, defaultEndpoint: TEXT, tls: SERVER_TLS, hosts: list(TEXT) },
        port: object(
          { number: UNSIGNED, targetPort: UNSIGNED, protocol: TEXT, name: TEXT },
          ...["number", "protocol", "name"],
        ),
      },
      ...["port", "hosts"],
    ),
  ),
});

/** By kind; of each the `spec`. */
export const WRITTEN: Readonly<Record<string, Schema>> = {
  IstioGateway: ISTIO_GATEWAY,
  TrafficExtension: TRAFFIC_EXTENSION,
};
