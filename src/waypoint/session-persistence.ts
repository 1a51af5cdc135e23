/**
 * `sessionPersistence` of a rule (GEP-1619): a client that comes back gets the endpoint it had.
 *
 *     route     the request's token names an endpoint of the rule's backends: it decides the
 *               backend, before weights (also one whose weight has become 0)
 *     balance   and the endpoint, unless that has just failed this request
 *     answer    a token of the endpoint that answered, when the client has none of it, or when
 *               its idle time begins anew
 *
 * An endpoint that is gone or not ready ends the session: another is chosen as for any request.
 */
import type { HttpBackend, HttpRouteRule, SessionPersistence } from "../model/route.ts";
import { H, ownHeaderId } from "../net/http1/header-names.ts";
import type { HeadEdits } from "../net/http1/rewrite.ts";
import type { UpstreamEndpoint } from "./cluster.ts";
import { CookiePaths } from "./cookie-path.ts";
import type { Exchange } from "./exchange.ts";
import { TokenCode } from "./session-token.ts";

/** A request under a rule with sessions. */
export interface StickyRequest {
  readonly plan: SessionPlan;
  /** Of the session it belongs to; undefined: a new one begins. */
  readonly backend: HttpBackend | undefined;
  readonly endpoint: UpstreamEndpoint | undefined;
  readonly issuedMs: number;
  /** What a cookie has to say. */
  readonly path: string;
  readonly isSecure: boolean;
}

/** What a rule says, made ready once. */
class SessionPlan {
  readonly says: SessionPersistence;
  readonly code: TokenCode;
  readonly headerId: number;
  readonly #paths: CookiePaths;

  constructor(owner: string, rule: HttpRouteRule, says: SessionPersistence) {
    this.says = says;
    this.code = new TokenCode(`${owner}\n${rule.name}\n${says.type}\n${says.name}`, says);
    this.headerId = says.type === "Header" ? ownHeaderId(says.name.toLowerCase()) : H.setCookie;
    this.#paths = new CookiePaths(rule.matches);
  }

  find(exchange: Exchange, rule: HttpRouteRule): StickyRequest {
    const isCookie = this.says.type === "Cookie";
    const path = isCookie ? this.#paths.of(exchange.path) : "";
    const isSecure = isCookie && exchange.head.get(H.xForwardedProto) === "https";
    const found = this.#session(exchange, rule);
    return {
      plan: this,
      backend: found?.backend,
      endpoint: found?.endpoint,
      issuedMs: found?.issuedMs ?? 0,
      ...{ path, isSecure },
    };
  }

  #session({ head, context, snapshot }: Exchange, rule: HttpRouteRule) {
    const nowMs = Date.now();
    for (const text of this.#texts(head)) {
      const token = this.code.read(text, nowMs);
      if (token === undefined) continue;
      for (const backend of rule.backends) {
        if (backend.service === undefined) continue;
        const cluster = context.clusters.ofService(backend.service, backend.port, snapshot);
        const endpoint = cluster.byTag(token.tag);
        if (endpoint !== undefined) return { backend, endpoint, issuedMs: token.issuedMs };
      }
    }
    return undefined;
  }

  /** Several cookies may have the name: of other paths, or of the backend's own. */
  #texts(head: Exchange["head"]): readonly string[] {
    const { type, name } = this.says;
    if (type === "Header") {
      const value = head.getByName(name.toLowerCase());
      return value === undefined ? [] : [value];
    }
    const cookies = head.get(H.cookie);
    if (cookies === undefined) return [];
    const begin = `${name}=`;
    const pairs = cookies.split(/[;,][ \t]*/, COOKIES_MAX);
    return pairs.filter((pair) => pair.startsWith(begin)).map((pair) => pair.slice(begin.length));
  }
}

/** Browsers keep 180 for a domain, at most. */
const COOKIES_MAX = 256;

/** Gateway API has them tested as names; nothing else may get into a head. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

const plans = new WeakMap<HttpRouteRule, SessionPlan>();

/** The route has been chosen: does the request belong to a session? */
export function findSession(exchange: Exchange, rule: HttpRouteRule): void {
  const { sessionPersistence: says } = rule;
  const route = exchange.choice?.route;
  if (says === undefined || route === undefined || !NAME.test(says.name)) return;
  let plan = plans.get(rule);
  if (plan === undefined) {
    plan = new SessionPlan(`${route.kind}/${route.key}`, rule, says);
    plans.set(rule, plan);
  }
  exchange.sticky = plan.find(exchange, rule);
}

/** The session's endpoint, as long as it serves. */
export function sessionEndpoint(
  { endpoint }: StickyRequest,
  tried: readonly UpstreamEndpoint[],
): UpstreamEndpoint | undefined {
  return endpoint === undefined || endpoint.isGone || tried.includes(endpoint)
    ? undefined
    : endpoint;
}

/** What the answer says about the session. */
export function continueSession(
  sticky: StickyRequest,
  endpoint: UpstreamEndpoint | undefined,
  edits: HeadEdits,
): void {
  if (endpoint === undefined) return;
  const { plan } = sticky;
  const { idleTimeoutMs, type } = plan.says;
  const isSame = sticky.endpoint?.tag === endpoint.tag;
  if (isSame && idleTimeoutMs === 0) return;
  const nowMs = Date.now();
  const issuedMs = isSame && !Number.isNaN(sticky.issuedMs) ? sticky.issuedMs : nowMs;
  const token = plan.code.write(endpoint.tag, issuedMs, nowMs);
  if (type === "Header") edits.set(plan.headerId, token);
  else edits.add(plan.headerId, cookie(sticky, token, issuedMs, nowMs));
}

/**
 * A browser's scripts have no use for it (HttpOnly), nor have other sites (SameSite). `Secure` only
 * behind TLS of an ingress: inside the mesh applications speak plain HTTP, and would lose it.
 */
function cookie(sticky: StickyRequest, token: string, issuedMs: number, nowMs: number): string {
  const { name, isPermanent, absoluteTimeoutMs } = sticky.plan.says;
  // Browsers take such names only with what they promise (RFC 6265bis §4.1.3).
  const path = name.startsWith("__Host-") ? "/" : sticky.path;
  let text = `${name}=${token}; Path=${path}; HttpOnly; SameSite=Strict`;
  if (sticky.isSecure || /^__(Secure|Host)-/.test(name)) text += "; Secure";
  if (isPermanent && absoluteTimeoutMs > 0) {
    const endMs = issuedMs + absoluteTimeoutMs;
    const maxAgeS = Math.max(1, Math.ceil((endMs - nowMs) / 1000));
    text += `; Max-Age=${maxAgeS}; Expires=${new Date(endMs).toUTCString()}`;
  }
  return text;
}
