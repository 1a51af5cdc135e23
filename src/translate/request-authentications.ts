/**
 * RequestAuthentications with `targetRefs`: what waypoints verify. A waypoint takes none by selector
 * or for a whole namespace, and a ztunnel takes none at all.
 */
import type { FieldPath, ParsedObject } from "../api/object.ts";
import type {
  RequestAuthentication as ApiAuthentication,
  JWTRule,
} from "../api/request-authentication.ts";
import { goDurationMs } from "../kit/go-duration.ts";
import type { JwtRule, RequestAuthentication } from "../model/request-authentication.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import { jwksProblem } from "./jwks.ts";
import { keyOf, refOf } from "./object-names.ts";
import { resolveTargets, type TargetSurroundings } from "./policy-targets.ts";
import type { Surroundings } from "./surroundings.ts";

export type AuthenticationSurroundings = TargetSurroundings & Pick<Surroundings, "jwks">;

export interface TranslatedAuthentication {
  readonly facts:
    | {
        readonly authentication: RequestAuthentication;
        /** Keys of the snapshot's `authentications` under which it stands. */
        readonly targets: readonly string[];
      }
    | undefined;
  readonly status: ObjectStatus | undefined;
}

/** What is fetched for a rule without keys of its own: key of `Surroundings.jwks`. */
export interface JwksRequest {
  /** Of the keys, or of the issuer, whose discovery document names them. */
  readonly url: string;
  readonly isDiscovery: boolean;
  readonly timeoutMs: number;
}

const TIMEOUT_MS = 5_000;
const ALWAYS_DELIMITED = ["scope", "permission"];

export function translateRequestAuthentication(
  object: ParsedObject<ApiAuthentication>,
  near: AuthenticationSurroundings,
): TranslatedAuthentication {
  const findings = new Findings(object);
  const { spec = {} } = object.value;
  const hasTargets = spec.targetRef !== undefined || (spec.targetRefs ?? []).length > 0;
  if (!hasTargets) {
    const message =
      "nothing verifies tokens here: a ztunnel knows no requests, and a waypoint takes what names " +
      "it, or its services, in targetRefs";
    findings.report(
      "WS0106",
      message,
      spec.selector === undefined ? ["spec"] : ["spec", "selector"],
    );
    return { facts: undefined, status: findings.status() };
  }
  if (spec.selector !== undefined) {
    findings.report("WS0107", "selector has no effect beside targetRefs", ["spec", "selector"]);
  }
  const targets = resolveTargets(object, near, findings);
  const rules = (spec.jwtRules ?? []).flatMap((rule, index) => {
    return translateRule(rule, ["spec", "jwtRules", index], near, findings) ?? [];
  });
  const { position } = object;
  const authentication = { key: keyOf(object), rules, source: refOf(object), position };
  return { facts: { authentication, targets }, status: findings.status() };
}

/** What the rules of an object would have fetched, each once. */
export function jwksRequests(object: ParsedObject<ApiAuthentication>): readonly JwksRequest[] {
  return (object.value.spec?.jwtRules ?? []).flatMap((rule) => requestOf(rule) ?? []);
}

/** `undefined`: the rule has keys of its own, or nothing to ask for them. */
function requestOf(rule: JWTRule): JwksRequest | undefined {
  if (rule.jwks) return undefined;
  const uri = rule.jwksUri ?? rule.jwks_uri;
  const timeoutMs = goDurationMs(rule.timeout ?? "") ?? TIMEOUT_MS;
  if (uri) return { url: uri, isDiscovery: false, timeoutMs };
  const issuer = rule.issuer ?? "";
  return /^https?:\/\//.test(issuer) ? { url: issuer, isDiscovery: true, timeoutMs } : undefined;
}

export function jwksKey({ url, isDiscovery }: JwksRequest): string {
  return `${isDiscovery ? "issuer" : "keys"} ${url}`;
}

/** `undefined`: it is left out. */
function translateRule(
  rule: JWTRule,
  path: FieldPath,
  near: AuthenticationSurroundings,
  findings: Findings,
): JwtRule | undefined {
  if (!rule.issuer) {
    findings.report("WS0102", "a rule needs an issuer; it is left out", [...path, "issuer"]);
    return undefined;
  }
  const { fromParams = [], fromCookies = [] } = rule;
  const fromHeaders = (rule.fromHeaders ?? []).map(({ name, prefix = "" }) => ({
    name: name.toLowerCase(),
    prefix,
  }));
  const request = requestOf(rule);
  const isDefault = fromHeaders.length + fromParams.length + fromCookies.length === 0;
  return {
    issuer: rule.issuer,
    audiences: rule.audiences ?? [],
    jwks: keysOf(rule, path, near, findings),
    ...(request !== undefined && { keysFrom: jwksKey(request) }),
    fromHeaders: isDefault ? [{ name: "authorization", prefix: "Bearer " }] : fromHeaders,
    fromParams: isDefault ? ["access_token"] : fromParams,
    fromCookies,
    forwardOriginalToken: rule.forwardOriginalToken ?? false,
    outputPayloadToHeader: (rule.outputPayloadToHeader ?? "").toLowerCase(),
    outputClaimToHeaders: (rule.outputClaimToHeaders ?? []).map(({ header, claim }) => ({
      header: header.toLowerCase(),
      claim,
    })),
    spaceDelimitedClaims: [...ALWAYS_DELIMITED, ...(rule.spaceDelimitedClaims ?? [])],
  };
}

const NO_TOKEN = "until then no token of this issuer is valid (401)";

function keysOf(
  rule: JWTRule,
  path: FieldPath,
  near: AuthenticationSurroundings,
  findings: Findings,
): string | undefined {
  if (rule.jwks) {
    if (rule.jwksUri ?? rule.jwks_uri) {
      findings.report("WS0107", "jwksUri has no effect beside jwks", [...path, "jwksUri"]);
    }
    const problem = jwksProblem(rule.jwks);
    if (problem === undefined) return rule.jwks;
    findings.report("WS0102", `${problem}; no token of this issuer is valid (401)`, [
      ...path,
      "jwks",
    ]);
    return undefined;
  }
  const request = requestOf(rule);
  if (request === undefined) {
    const message = `there are no keys: give jwks or jwksUri, or an issuer that is a URL; ${NO_TOKEN}`;
    findings.report("WS0102", message, path);
    return undefined;
  }
  const fetched = near.jwks(jwksKey(request));
  // Nothing is to be said as long as nobody has tried.
  if (fetched !== undefined && fetched.jwks === undefined) {
    const why = fetched.problem;
    const at = request.isDiscovery ? "issuer" : "jwksUri";
    findings.report("WS0101", `no keys from ${request.url}: ${why}; ${NO_TOKEN}`, [...path, at]);
  }
  return fetched?.jwks;
}
