/**
 * Mesh settings (D12): MeshConfig as Istio's users have it (ConfigMap `istio`, key `mesh`, in the
 * root namespace), and Waystone's own (ConfigMap `waystone`, key `config`).
 *
 * A setting that cannot be used keeps its default and is reported; one that Waystone does not know
 * is reported too, for a misspelt setting is a setting that does not apply.
 */
import { parseDocument } from "yaml";
import type { ConfigMap } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import { goDurationMs } from "../kit/go-duration.ts";
import { nearest } from "../kit/nearest.ts";
import type { MeshSettings } from "../model/settings.ts";
import { readProviders } from "./authorization-providers.ts";
import type { Findings } from "./findings.ts";

/** Names of the ConfigMaps, and the keys that hold the settings. */
export const MESH_CONFIG = { name: "istio", key: "mesh" } as const;
export const OWN_CONFIG = { name: "waystone", key: "config" } as const;

type Patch = { -readonly [K in keyof MeshSettings]?: MeshSettings[K] };

/** Reads one field into the patch; returns what is wrong with its value, if anything. */
type Reader = (
  value: unknown,
  patch: Patch,
  /** For parts of it that have no effect. */
  ignore: (part: string) => void,
) => string | undefined;

const text =
  (set: (patch: Patch, value: string) => void): Reader =>
  (value, patch) => {
    if (typeof value !== "string") return "expected a text";
    set(patch, value);
    return undefined;
  };

/** A text that is part of names: it cannot be empty. */
const nameText =
  (set: (patch: Patch, value: string) => void): Reader =>
  (value, patch, ignore) =>
    value === "" ? "must not be empty" : text(set)(value, patch, ignore);

const oneOf =
  <T extends string>(allowed: readonly T[], set: (patch: Patch, value: T) => void): Reader =>
  (value, patch) => {
    const found = allowed.find((a) => a === value);
    if (found === undefined) return `expected one of ${allowed.join(", ")}`;
    set(patch, found);
    return undefined;
  };

/** What a timer of Node can wait for; a longer one would fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;

const duration =
  (minMs: number, set: (patch: Patch, ms: number) => void): Reader =>
  (value, patch) => {
    const ms = typeof value === "string" ? goDurationMs(value) : undefined;
    if (ms === undefined) return 'expected a duration such as "10s" or "1m30s"';
    if (ms < minMs || ms > TIMER_MAX_MS) return `expected ${minMs}ms to 24 days`;
    set(patch, ms);
    return undefined;
  };

const flag =
  (set: (patch: Patch, value: boolean) => void): Reader =>
  (value, patch) => {
    if (typeof value !== "boolean") return "expected true or false";
    set(patch, value);
    return undefined;
  };

const aliases: Reader = (value, patch) => {
  if (!Array.isArray(value) || !value.every((v) => typeof v === "string"))
    return "expected a list of texts";
  patch.trustDomainAliases = value;
  return undefined;
};

const normalization: Reader = (value, patch, ignore) => {
  const { normalization: mode, ...others } = (value ?? {}) as Record<string, unknown>;
  if (Object.keys(others).length > 0) return `unknown ${Object.keys(others).join(", ")}`;
  if (mode === undefined || mode === "DEFAULT") return undefined;
  return oneOf(["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"], (p, v) => {
    p.pathNormalization = v;
  })(mode, patch, ignore);
};

const retries: Reader = (value, patch) => {
  if (typeof value !== "object" || value === null) return "expected fields";
  const { attempts } = value as { attempts?: unknown };
  if (attempts === undefined) return undefined;
  if (!Number.isInteger(attempts) || (attempts as number) < 0 || (attempts as number) > 100) {
    return "attempts: expected a whole number from 0 to 100";
  }
  patch.retryAttempts = attempts as number;
  return undefined;
};

/** Of ProxyConfig the one field that says something about requests. */
const proxyConfig: Reader = (value, patch) => {
  const { gatewayTopology } = (value ?? {}) as { gatewayTopology?: unknown };
  const { numTrustedProxies: count } = (gatewayTopology ?? {}) as { numTrustedProxies?: unknown };
  if (count === undefined) return undefined;
  if (!Number.isInteger(count) || Number(count) < 0 || Number(count) > 100) {
    return "gatewayTopology.numTrustedProxies: expected a whole number from 0 to 100";
  }
  patch.numTrustedProxies = Number(count);
  return undefined;
};

const providers: Reader = (value, patch, ignore) => {
  const read = readProviders(value);
  if (read === undefined) return "expected a list of providers";
  patch.authorizationProviders = read.providers;
  read.remarks.forEach(ignore);
  return undefined;
};

/** MeshConfig, by field. */
const MESH_FIELDS: Readonly<Record<string, Reader>> = {
  accessLogEncoding: oneOf(["TEXT", "JSON"], (p, v) => {
    p.accessLogEncoding = v;
  }),
  accessLogFile: text((p, v) => {
    p.accessLogFile = v;
  }),
  accessLogFormat: text((p, v) => {
    p.accessLogFormat = v;
  }),
  connectTimeout: duration(1, (p, ms) => {
    p.connectTimeoutMs = ms;
  }),
  defaultHttpRetryPolicy: retries,
  defaultConfig: proxyConfig,
  extensionProviders: providers,
  hboneIdleTimeout: duration(1, (p, ms) => {
    p.hboneIdleTimeoutMs = ms;
  }),
  pathNormalization: normalization,
  protocolDetectionTimeout: duration(0, (p, ms) => {
    p.protocolDetectionTimeoutMs = ms;
  }),
  rootNamespace: nameText((p, v) => {
    p.rootNamespace = v;
  }),
  trustDomain: nameText((p, v) => {
    p.trustDomain = v;
  }),
  trustDomainAliases: aliases,
};

/** MeshConfig that Istio has and Waystone does not act on: no mistake, so only ignored. */
const KNOWN_ELSEWHERE = new Set(
  (
    "proxyListenPort proxyInboundListenPort proxyHttpPort tcpKeepalive ingressClass ingressService " +
    "ingressControllerMode ingressSelector enableTracing accessLogFormat enableEnvoyAccessLogService " +
    "disableEnvoyListenerLog outboundTrafficPolicy inboundTrafficPolicy configSources " +
    "enableAutoMtls caCertificates defaultServiceExportTo defaultVirtualServiceExportTo " +
    "defaultDestinationRuleExportTo localityLbSetting dnsRefreshRate h2UpgradePolicy " +
    "inboundClusterStatName outboundClusterStatName certificates serviceSettings " +
    "serviceScopeConfigs enablePrometheusMerge verifyCertificateAtClient ca " +
    "defaultProviders discoverySelectors meshMTLS tlsDefaults serviceEntryVisibility"
  ).split(" "),
);

const OWN_FIELDS: Readonly<Record<string, Reader>> = {
  compatibility: oneOf(["waystone", "istio"], (p, v) => {
    p.compatibility = v;
  }),
  decisionHeader: flag((p, v) => {
    p.decisionHeader = v;
  }),
  clusterDomain: nameText((p, v) => {
    p.clusterDomain = v;
  }),
  clusterId: nameText((p, v) => {
    p.clusterId = v;
  }),
  network: text((p, v) => {
    p.network = v;
  }),
};

/** Settings as one ConfigMap changes them. */
export function readSettings(
  before: MeshSettings,
  object: ParsedObject<ConfigMap>,
  findings: Findings,
): MeshSettings {
  const isOwn = object.value.metadata.name === OWN_CONFIG.name;
  const { key } = isOwn ? OWN_CONFIG : MESH_CONFIG;
  const path = ["data", key];
  const source = object.value.data?.[key];
  if (source === undefined) return before;
  const fields = parse(source, (message) => findings.report("WS0102", message, path));
  const readers = isOwn ? OWN_FIELDS : MESH_FIELDS;
  const patch: Patch = {};
  for (const [name, value] of Object.entries(fields)) {
    const reader = Object.hasOwn(readers, name) ? readers[name] : undefined;
    if (reader !== undefined) {
      const problem = reader(value, patch, (part) =>
        findings.report("WS0107", `${name} ${part} is not known, and ignored`, path),
      );
      if (problem !== undefined)
        findings.report("WS0102", `${name}: ${problem}; it keeps its default`, path);
    } else if (isOwn || !KNOWN_ELSEWHERE.has(name)) {
      const guess = nearest(name, Object.keys(readers));
      const hint = guess ? `, did you mean ${guess}?` : "";
      findings.report("WS0107", `${name} is not a setting that Waystone knows${hint}`, path);
    }
  }
  for (const { name, problem } of patch.authorizationProviders ?? []) {
    if (problem === undefined) continue;
    const effect = "what CUSTOM policies match that name it is denied";
    findings.report("WS0102", `extensionProviders ${name}: ${problem}; ${effect}`, path);
  }
  return { ...before, ...patch };
}

function parse(source: string, report: (message: string) => void): Record<string, unknown> {
  const document = parseDocument(source, { logLevel: "silent" });
  const error = document.errors[0];
  if (error !== undefined) {
    report(`not YAML: ${error.message.split("\n", 1)[0]}; the settings keep their defaults`);
    return {};
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (caught) {
    const reason = caught instanceof Error ? caught.message : String(caught);
    report(`not YAML: ${reason}; the settings keep their defaults`);
    return {};
  }
  if (value === null || value === undefined) return {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  report("expected fields; the settings keep their defaults");
  return {};
}
