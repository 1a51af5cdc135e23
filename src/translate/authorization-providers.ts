/**
 * MeshConfig `extensionProviders`: of them the authorizers that CUSTOM policies name.
 *
 * One that cannot be used is kept, with the reason: what its policies match is denied, and nothing
 * else is (Istio's answer, conformance note 13).
 */

import { goDurationMs } from "../kit/go-duration.ts";
import type { AuthorizationProvider } from "../model/authorization-provider.ts";

/** Istio's default for both kinds. */
const TIMEOUT_MS = 600_000;
/** Names stand in policy ids and metrics: a label as DNS has it. */
const NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

type Fields = Readonly<Record<string, unknown>>;

export interface ReadProviders {
  readonly providers: readonly AuthorizationProvider[];
  /** Of fields that have no effect. */
  readonly remarks: readonly string[];
}

/** `undefined`: no list of providers at all. Providers of other kinds (tracers …) are passed over. */
export function readProviders(value: unknown): ReadProviders | undefined {
  if (!Array.isArray(value) || !value.every(isFields)) return undefined;
  const remarks: string[] = [];
  const providers = value.flatMap((entry) => {
    const { envoyExtAuthzHttp: http, envoyExtAuthzGrpc: grpc } = entry;
    if (http === undefined && grpc === undefined) return [];
    const name = typeof entry.name === "string" ? entry.name : "";
    const reader = new ProviderReader(isFields(http ?? grpc) ? ((http ?? grpc) as Fields) : {});
    const provider = reader.read(name, http !== undefined ? "HTTP" : "GRPC");
    remarks.push(...reader.unread().map((field) => `${name}: ${field}`));
    return [provider];
  });
  return { providers: providers.map((provider) => unlessTwice(provider, providers)), remarks };
}

function unlessTwice(
  provider: AuthorizationProvider,
  all: readonly AuthorizationProvider[],
): AuthorizationProvider {
  const isTwice = all.filter(({ name }) => name === provider.name).length > 1;
  return isTwice ? { ...provider, problem: "there are several of that name" } : provider;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads one provider; keeps the first thing that is wrong with it. */
class ProviderReader {
  readonly #fields: Fields;
  readonly #read = new Set<string>();
  #problem: string | undefined;

  constructor(fields: Fields) {
    this.#fields = fields;
  }

  read(name: string, protocol: "HTTP" | "GRPC"): AuthorizationProvider {
    if (!NAME.test(name)) this.#wrong(`its name "${name}" is not one (a-z, 0-9 and "-")`);
    const body = this.#body();
    const isHttp = protocol === "HTTP";
    const names = (field: string) => (isHttp ? this.#headerNames(field) : []);
    const shown = names("includeRequestHeadersInCheck");
    // The field's former name, which counts where the new one is not used.
    const formerly = names("includeHeadersInCheck");
    return {
      name,
      protocol,
      service: this.#service(),
      port: this.#port(),
      timeoutMs: this.#timeoutMs(),
      isFailOpen: this.#flag("failOpen"),
      statusOnError: this.#statusOnError(),
      pathPrefix: isHttp ? this.#pathPrefix() : "",
      includeRequestHeadersInCheck: shown.length > 0 ? shown : formerly,
      includeAdditionalHeadersInCheck: isHttp ? this.#additions() : [],
      headersToUpstreamOnAllow: names("headersToUpstreamOnAllow"),
      headersToDownstreamOnAllow: names("headersToDownstreamOnAllow"),
      headersToDownstreamOnDeny: names("headersToDownstreamOnDeny"),
      ...body,
      isRouteCacheCleared: this.#flag("clearRouteCache"),
      problem: this.#problem,
    };
  }

  /** Fields that are not known here. */
  unread(): readonly string[] {
    return Object.keys(this.#fields).filter((field) => !this.#read.has(field));
  }

  #wrong(problem: string): void {
    this.#problem ??= problem;
  }

  #take(field: string): unknown {
    this.#read.add(field);
    return this.#fields[field] ?? undefined;
  }

  #service(): string {
    const value = this.#take("service");
    if (typeof value === "string" && value !== "") return value.toLowerCase();
    this.#wrong("service: expected a host name, or <namespace>/<host name>");
    return "";
  }

  #port(): number {
    const value = this.#take("port");
    if (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65535) {
      return Number(value);
    }
    this.#wrong("port: expected 1 to 65535");
    return 0;
  }

  #timeoutMs(): number {
    const value = this.#take("timeout");
    if (value === undefined) return TIMEOUT_MS;
    const ms = typeof value === "string" ? goDurationMs(value) : undefined;
    if (ms !== undefined && ms >= 1 && ms < 2 ** 31) return ms;
    this.#wrong('timeout: expected a duration such as "5s"');
    return TIMEOUT_MS;
  }

  #flag(field: string): boolean {
    const value = this.#take(field);
    if (value !== undefined && typeof value !== "boolean") {
      this.#wrong(`${field}: expected true or false`);
    }
    return value === true;
  }

  #statusOnError(): number {
    const value = this.#take("statusOnError");
    if (value === undefined || value === "") return 403;
    const status = Number(value);
    if (Number.isInteger(status) && status >= 200 && status <= 599) return status;
    this.#wrong("statusOnError: expected an HTTP status");
    return 403;
  }

  #pathPrefix(): string {
    const value = this.#take("pathPrefix") ?? "";
    if (typeof value === "string" && (value === "" || value.startsWith("/"))) return value;
    this.#wrong('pathPrefix: expected a path that begins with "/"');
    return "";
  }

  #headerNames(field: string): readonly string[] {
    const value = this.#take(field) ?? [];
    if (Array.isArray(value) && value.every((name) => typeof name === "string" && name !== "*")) {
      return value.map((name: string) => name.toLowerCase());
    }
    this.#wrong(`${field}: expected names of headers; a "*" must stand before or behind a part`);
    return [];
  }

  #additions(): readonly (readonly string[])[] {
    const value = this.#take("includeAdditionalHeadersInCheck") ?? {};
    if (isFields(value) && Object.values(value).every((text) => typeof text === "string")) {
      const pairs = Object.entries(value) as [string, string][];
      return pairs.map(([name, text]) => [name.toLowerCase(), text]);
    }
    this.#wrong("includeAdditionalHeadersInCheck: expected names and texts");
    return [];
  }

  #body() {
    const none = { bodyBytesMax: 0, isPartialBodyShown: false, isBodyPackedAsBytes: false };
    const value = this.#take("includeRequestBodyInCheck");
    if (value === undefined) return none;
    const { maxRequestBytes, allowPartialMessage, packAsBytes } = isFields(value) ? value : {};
    if (!Number.isInteger(maxRequestBytes) || Number(maxRequestBytes) < 1) {
      this.#wrong("includeRequestBodyInCheck.maxRequestBytes: expected a number above 0");
      return none;
    }
    return {
      bodyBytesMax: Math.min(Number(maxRequestBytes), 2 ** 31),
      isPartialBodyShown: allowPartialMessage === true,
      isBodyPackedAsBytes: packAsBytes === true,
    };
  }
}
