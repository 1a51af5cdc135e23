/**
 * RequestAuthentication: every token that a request carries where a rule looks for one must be
 * good, and a request without any passes, without a principal (policies say who may do that).
 *
 * Verified tokens are remembered until they expire, by their whole text and only as long as the
 * rules are the same objects; what was refused is judged again each time.
 */
import type { JwtRule, RequestAuthentication } from "../../model/request-authentication.ts";
import type { HttpFacts, JwtFacts } from "../facts.ts";
import { KeySet } from "./key-set.ts";
import { type FoundToken, findTokens } from "./places.ts";
import { parseToken, type Token } from "./token.ts";

/** What a request with good tokens, or none, goes on with. */
export interface PassedAuthentication {
  readonly isPassed: true;
  /** undefined: there was no token. */
  readonly jwt: JwtFacts | undefined;
  /** Headers that only the waypoint may set. */
  readonly removedHeaders: readonly string[];
  readonly setHeaders: readonly (readonly [name: string, value: string])[];
  readonly removedParameters: ReadonlySet<string>;
  readonly removedCookies: ReadonlySet<string>;
}

/** The words are Envoy's: they stand in the answer and in the log. */
export interface RefusedAuthentication {
  readonly isPassed: false;
  readonly status: 401 | 403;
  readonly reason: string;
}

export type Authentication = PassedAuthentication | RefusedAuthentication;

/** RFC 7519 §4.1.4 allows for clocks that differ; as much as Envoy does. */
const LEEWAY_MS = 60_000;
const REMEMBERED_MAX = 500;

const refused = (reason: string, status: 401 | 403 = 401): RefusedAuthentication => ({
  isPassed: false,
  status,
  reason,
});

const REFUSED = {
  malformed: refused(
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
  ),
  issuer: refused("Jwt issuer is not configured"),
  expired: refused("Jwt is expired"),
  notYet: refused("Jwt not yet valid"),
  audience: refused("Audiences in Jwt are not allowed", 403),
  noKeys: refused("Jwks remote fetch is failed"),
  noKey: refused("Jwks doesn't have key to match kid or alg from Jwt"),
  unknownAlgorithm: refused("Jwt header [alg] is not supported"),
  invalid: refused("Jwt verification fails"),
} as const;

class CompiledRule {
  readonly rule: JwtRule;
  #keys: KeySet | undefined;

  constructor(rule: JwtRule) {
    this.rule = rule;
  }

  /** `undefined`: the token is good. */
  refuses(token: Token, nowMs: number): RefusedAuthentication | undefined {
    const { audiences, jwks } = this.rule;
    const { exp, nbf, aud } = token.claims;
    if (exp !== undefined && exp * 1000 + LEEWAY_MS < nowMs) return REFUSED.expired;
    if (nbf !== undefined && nbf * 1000 - LEEWAY_MS > nowMs) return REFUSED.notYet;
    const given = Array.isArray(aud) ? aud : [aud];
    if (audiences.length > 0 && !given.some((one) => isAudience(audiences, one))) {
      return REFUSED.audience;
    }
    if (jwks === undefined) return REFUSED.noKeys;
    this.#keys ??= new KeySet(jwks);
    const verdict = this.#keys.verify(token);
    return verdict === "valid" ? undefined : REFUSED[verdict];
  }
}

/** Envoy's `sanitizeAudience`: neither the scheme nor a slash at the end counts. */
function isAudience(audiences: readonly string[], given: unknown): boolean {
  if (typeof given !== "string") return false;
  const plain = (text: string) => text.replace(/^https?:\/\//, "").replace(/\/$/, "");
  return audiences.some((audience) => plain(audience) === plain(given));
}

interface Remembered {
  readonly rule: JwtRule;
  readonly token: Token;
  /** Good until then; infinite for one without `exp`. */
  readonly untilMs: number;
  readonly jwt: JwtFacts;
  /** What follows from it alone, by the place where it stood. */
  readonly passed: Map<string, PassedAuthentication>;
}

export class Authenticator {
  readonly #rules: readonly CompiledRule[];
  /** What clients must not claim. */
  readonly #ownHeaders: readonly string[];
  readonly #none: PassedAuthentication;
  readonly #remembered = new Map<string, Remembered>();
  /** The one header in which all rules look, where there is one. */
  readonly #header: OnlyHeader | undefined;
  #lastValue = "";
  #lastUntilMs = 0;
  #lastPassed: PassedAuthentication | undefined;

  constructor(authentications: readonly RequestAuthentication[]) {
    this.#rules = authentications.flatMap(({ rules }) => rules.map((r) => new CompiledRule(r)));
    this.#header = onlyHeader(this.#rules.map(({ rule }) => rule));
    this.#ownHeaders = [...new Set(this.#rules.flatMap(({ rule }) => outputHeaders(rule)))];
    this.#none = this.#passed([]);
  }

  authenticate(facts: HttpFacts, nowMs: number): Authentication {
    // Browsers send no credentials with a preflight (Fetch standard).
    if (facts.method === "OPTIONS" && isPreflight(facts)) return this.#none;
    return this.#known(facts, nowMs) ?? this.#search(facts, nowMs);
  }

  /** The usual case without a search: one header, with nothing or a token that is remembered. */
  #known(facts: HttpFacts, nowMs: number): PassedAuthentication | undefined {
    const only = this.#header;
    if (only === undefined || (only.hasParams && facts.query !== "")) return undefined;
    const value = facts.header(only.name);
    if (value === undefined) return this.#none;
    // The same client again: comparing costs less than hashing.
    if (value === this.#lastValue && nowMs < this.#lastUntilMs) return this.#lastPassed;
    if (!value.startsWith(only.prefix)) return undefined;
    const known = this.#remembered.get(value.slice(only.prefix.length));
    if (known === undefined || nowMs >= known.untilMs) return undefined;
    this.#lastValue = value;
    this.#lastUntilMs = known.untilMs;
    this.#lastPassed = this.#passedAlone(known, only.place);
    return this.#lastPassed;
  }

  #search(facts: HttpFacts, nowMs: number): Authentication {
    let single: Remembered | undefined;
    let place = "";
    let several: [Remembered, string][] | undefined;
    for (const found of this.#find(facts)) {
      const good = this.#judge(found, nowMs);
      if ("isPassed" in good) return good;
      if (single !== undefined) several ??= [[single, place]];
      several?.push([good, found.place]);
      [single, place] = [good, found.place];
    }
    if (several !== undefined) return this.#passed(several);
    if (single === undefined) return this.#none;
    return this.#passedAlone(single, place);
  }

  /** Each token once, as all rules that look where it stands read it. */
  #find(facts: HttpFacts): readonly Found[] {
    const all: Found[] = [];
    for (const compiled of this.#rules) {
      for (const { place, written, text } of findTokens(compiled.rule, facts)) {
        const known = all.find((one) => one.place === place && one.written === written);
        if (known !== undefined) known.readings.push({ text, compiled });
        else all.push({ place, written, readings: [{ text, compiled }] });
      }
    }
    return all;
  }

  #judge({ readings }: Found, nowMs: number): Remembered | RefusedAuthentication {
    for (const { text, compiled } of readings) {
      const known = this.#remembered.get(text);
      if (known?.rule === compiled.rule && nowMs < known.untilMs) return known;
    }
    // As Envoy has it, the first rule tells why, unless the token is of another issuer.
    let reason: RefusedAuthentication = REFUSED.issuer;
    let token: Token | undefined;
    let parsed: string | undefined;
    for (const { text, compiled } of readings) {
      if (text !== parsed) token = parseToken(text);
      parsed = text;
      if (token !== undefined && token.claims.iss !== compiled.rule.issuer) continue;
      const why = token === undefined ? REFUSED.malformed : compiled.refuses(token, nowMs);
      if (why === undefined) return this.#remember(text, token!, compiled.rule);
      if (reason === REFUSED.issuer) reason = why;
    }
    return reason;
  }

  #remember(text: string, token: Token, rule: JwtRule): Remembered {
    const { exp } = token.claims;
    const untilMs = exp === undefined ? Number.POSITIVE_INFINITY : exp * 1000 + LEEWAY_MS;
    const remembered = { rule, token, untilMs, jwt: factsOf(token, rule), passed: new Map() };
    if (this.#remembered.size >= REMEMBERED_MAX) {
      this.#remembered.delete(this.#remembered.keys().next().value!);
      this.#lastValue = "";
    }
    this.#remembered.set(text, remembered);
    return remembered;
  }

  #passedAlone(one: Remembered, place: string): PassedAuthentication {
    const known = one.passed.get(place);
    if (known !== undefined) return known;
    const passed = this.#passed([[one, place]]);
    one.passed.set(place, passed);
    return passed;
  }

  #passed(tokens: readonly (readonly [Remembered, string])[]): PassedAuthentication {
    const gone = tokens.flatMap(([{ rule }, place]) => (rule.forwardOriginalToken ? [] : [place]));
    const of = (kind: string) =>
      gone.flatMap((place) => (place.startsWith(kind) ? [place.slice(kind.length)] : []));
    return {
      isPassed: true,
      // Of several the last speaks for the request, as in Envoy's metadata.
      jwt: tokens.at(-1)?.[0].jwt,
      removedHeaders: [...this.#ownHeaders, ...of("header ")],
      setHeaders: tokens.flatMap(([{ rule, token }]) => outputOf(rule, token)),
      removedParameters: new Set(of("parameter ")),
      removedCookies: new Set(of("cookie ")),
    };
  }
}

interface OnlyHeader {
  readonly name: string;
  readonly prefix: string;
  readonly place: string;
  /** Some rule looks into the query, too. */
  readonly hasParams: boolean;
}

function onlyHeader(rules: readonly JwtRule[]): OnlyHeader | undefined {
  const [first] = rules;
  const [header] = first?.fromHeaders ?? [];
  if (header === undefined) return undefined;
  const { name, prefix } = header;
  const isOnly = rules.every(
    ({ fromHeaders, fromCookies }) =>
      fromCookies.length === 0 &&
      fromHeaders.length === 1 &&
      fromHeaders[0]!.name === name &&
      fromHeaders[0]!.prefix === prefix,
  );
  const hasParams = rules.some(({ fromParams }) => fromParams.length > 0);
  return isOnly ? { name, prefix, place: `header ${name}`, hasParams } : undefined;
}

interface Found extends Omit<FoundToken, "text"> {
  /** They differ where rules ask for other prefixes of one header. */
  readonly readings: { readonly text: string; readonly compiled: CompiledRule }[];
}

function isPreflight(facts: HttpFacts): boolean {
  return (
    facts.header("origin") !== undefined &&
    facts.header("access-control-request-method") !== undefined
  );
}

function outputHeaders({ outputPayloadToHeader, outputClaimToHeaders }: JwtRule): string[] {
  const names = outputClaimToHeaders.map(({ header }) => header);
  return outputPayloadToHeader === "" ? names : [outputPayloadToHeader, ...names];
}

function outputOf(rule: JwtRule, token: Token): (readonly [string, string])[] {
  const pairs = rule.outputClaimToHeaders.flatMap(({ header, claim }) => {
    const value = headerValueOf(claimAt(token.claims, claim.split(".")));
    return value === undefined ? [] : [[header, value] as const];
  });
  const { outputPayloadToHeader: header } = rule;
  return header === "" ? pairs : [[header, token.payload] as const, ...pairs];
}

/** RFC 9110 §5.5: what a field value may hold, its octets as Latin-1. */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]+$/;

/**
 * Texts in UTF-8, lists and objects as JSON in Base64, as Envoy has them; `undefined`: there is
 * nothing to tell, or it cannot be told in a header.
 */
function headerValueOf(claim: unknown): string | undefined {
  if (claim === undefined || claim === null) return undefined;
  if (typeof claim === "number") return numberText(claim);
  if (typeof claim === "object") return Buffer.from(JSON.stringify(claim)).toString("base64");
  const value = Buffer.from(String(claim), "utf8").toString("latin1");
  return FIELD_VALUE.test(value) ? value : undefined;
}

/** As C++ writes what is no unsigned integer of 64 bits, and so does Envoy. */
function numberText(value: number): string {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 64) return String(BigInt(value));
  return Math.abs(value) < 1e21 ? value.toFixed(6) : `${BigInt(value)}.000000`;
}

function claimAt(claims: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, name) => {
    const isObject = typeof at === "object" && at !== null && Object.hasOwn(at, name);
    return isObject ? (at as Record<string, unknown>)[name] : undefined;
  }, claims);
}

function factsOf(token: Token, { spaceDelimitedClaims }: JwtRule): JwtFacts {
  const { iss, sub } = token.claims;
  const claims: Record<string, unknown> = { ...token.claims };
  for (const name of spaceDelimitedClaims) {
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
    if (typeof value === "string") claims[name] = value.split(" ").filter((part) => part !== "");
  }
  const isKnown = typeof iss === "string" && typeof sub === "string" && iss !== "" && sub !== "";
  return { principal: isKnown ? `${iss}/${sub}` : undefined, claims };
}
