/**
 * Who is asked, and what passes between: an ExternalAuth filter's backend, or a provider that
 * CUSTOM policies name. The two differ in what they mean by naming no headers.
 */
import type { AuthorizationProvider } from "../../model/authorization-provider.ts";
import type { ExternalAuthFilter } from "../../model/route.ts";
import { ALL_NAMES, type HeaderNames, NO_NAMES, namesIn } from "./header-names.ts";

export interface Authorizer {
  readonly protocol: "HTTP" | "GRPC";
  /** The key of its Service; undefined: there is none, and it cannot be asked. */
  readonly service: string | undefined;
  readonly port: number;
  /** undefined: as long as the waypoint's limits say. */
  readonly timeoutMs: number | undefined;
  readonly pathPrefix: string;
  /** Of the request's headers, besides those that are always shown. */
  readonly shown: HeaderNames;
  /** Names and values. */
  readonly added: readonly (readonly string[])[];
  /** Of its answer's headers (HTTP): to the backend, to the client, and with a refusal. */
  readonly toUpstream: HeaderNames;
  readonly toClient: HeaderNames;
  readonly toDeniedClient: HeaderNames;
  readonly bodyBytesMax: number;
  readonly isPartialBodyShown: boolean;
  readonly isBodyPackedAsBytes: boolean;
  readonly isFailOpen: boolean;
  readonly statusOnError: number;
  readonly isRouteCacheCleared: boolean;
}

const ofFilters = new WeakMap<ExternalAuthFilter, Authorizer>();
const ofProviders = new WeakMap<AuthorizationProvider, Map<string, Authorizer>>();

/** About the authorizer's answer, and not about the request: its length, type and date. */
const ABOUT_ITSELF = new Set(["content-type", "content-encoding", "date", "server", "vary"]);
const NOT_ABOUT_ITSELF: HeaderNames = { has: (name) => !ABOUT_ITSELF.has(name) };

/** Gateway API, HTTPExternalAuthFilter: fails closed; naming no headers of an answer means all. */
export function filterAuthorizer(filter: ExternalAuthFilter): Authorizer {
  const known = ofFilters.get(filter);
  if (known !== undefined) return known;
  const { protocol, backend, pathPrefix, allowedRequestHeaders, allowedResponseHeaders } = filter;
  const isGrpc = protocol === "GRPC";
  const made: Authorizer = {
    protocol,
    service: backend.service,
    port: backend.port,
    timeoutMs: undefined,
    pathPrefix,
    shown:
      isGrpc && allowedRequestHeaders.length === 0 ? ALL_NAMES : namesIn(allowedRequestHeaders),
    added: [],
    toUpstream:
      allowedResponseHeaders.length === 0 ? NOT_ABOUT_ITSELF : namesIn(allowedResponseHeaders),
    toClient: NO_NAMES,
    toDeniedClient: ALL_NAMES,
    bodyBytesMax: filter.bodyBytesMax,
    isPartialBodyShown: true,
    isBodyPackedAsBytes: false,
    isFailOpen: false,
    statusOnError: 403,
    isRouteCacheCleared: false,
  };
  ofFilters.set(filter, made);
  return made;
}

/** MeshConfig `extensionProviders`: naming no headers of an answer means none, but for refusals. */
export function providerAuthorizer(provider: AuthorizationProvider, service: string): Authorizer {
  let byService = ofProviders.get(provider);
  if (byService === undefined) {
    byService = new Map();
    ofProviders.set(provider, byService);
  }
  const known = byService.get(service);
  if (known !== undefined) return known;
  const { protocol, headersToDownstreamOnDeny: denied } = provider;
  const made: Authorizer = {
    ...provider,
    service,
    shown: protocol === "GRPC" ? ALL_NAMES : namesIn(provider.includeRequestHeadersInCheck),
    added: provider.includeAdditionalHeadersInCheck,
    toUpstream: namesIn(provider.headersToUpstreamOnAllow),
    toClient: namesIn(provider.headersToDownstreamOnAllow),
    toDeniedClient: denied.length === 0 ? ALL_NAMES : namesIn([...denied, ...ALWAYS_TO_CLIENT]),
  };
  byService.set(service, made);
  return made;
}

/** Envoy, `allowed_client_headers`: what a refusal cannot do without. */
const ALWAYS_TO_CLIENT = ["www-authenticate", "location"];
