/** Random RequestAuthentications, and requests with tokens that are good or wrong in one way. */
import { createHmac } from "node:crypto";
import type { JwtRule, RequestAuthentication } from "../../src/model/request-authentication.ts";
import type { Random } from "../fuzz/random.ts";
import { type Alg, Issuer } from "../support/tokens.ts";
import type { Asked } from "./tables.ts";

/** What was asked, and what is known of it. */
export interface AskedWithTokens extends Asked {
  readonly tokens: readonly Placed[];
  readonly isPreflight: boolean;
}

export interface Placed {
  readonly kind: Place["kind"];
  readonly name: string;
  /** As it stands there, with its prefix. */
  readonly text: string;
  readonly flaw: Flaw;
}

export interface AuthenticationTable {
  readonly authentications: readonly RequestAuthentication[];
  readonly rules: readonly JwtRule[];
  readonly requests: readonly AskedWithTokens[];
}

interface Place {
  readonly kind: "header" | "parameter" | "cookie";
  readonly name: string;
  readonly prefix: string;
}

type Claims = Record<string, unknown>;

/** By what `iss` says. */
const ISSUERS = new Map(
  (["RS256", "ES256", "EdDSA", "PS256", "ES384"] satisfies Alg[]).map((alg, i) => {
    return [i === 4 ? "https://e.example/" : `issuer-${alg}`, new Issuer(alg, `key-${alg}`)];
  }),
);
const NAMES = [...ISSUERS.keys()];
const STRANGER = new Issuer("ES256", "key-ES256");
const AUDIENCES: readonly (readonly string[])[] = [
  [],
  [],
  ["shop"],
  ["https://api.example.com/", "b"],
];

/** Each is one thing that is odd about a token; most of them are wrong. */
const CLAIMS: Readonly<Record<string, (nowS: number) => Claims>> = {
  none: () => ({}),
  expired: (now) => ({ exp: now - 600 }),
  "expired just now": (now) => ({ exp: now - 30 }),
  "expires in a fraction": (now) => ({ exp: now + 3_600.5 }),
  "expired in 1970": () => ({ exp: 1 }),
  "exp zero": () => ({ exp: 0 }),
  "exp negative": () => ({ exp: -5 }),
  "exp a text": (now) => ({ exp: String(now + 600) }),
  "exp null": () => ({ exp: null }),
  "no exp": () => ({ exp: undefined }),
  early: (now) => ({ nbf: now + 600 }),
  "early, a little": (now) => ({ nbf: now + 30 }),
  "nbf negative": () => ({ nbf: -5 }),
  "iat negative": () => ({ iat: -5 }),
  "nbf a text": () => ({ nbf: "now" }),
  "iat later": (now) => ({ iat: now + 6_000 }),
  "iat a text": () => ({ iat: "now" }),
  "jti a number": () => ({ jti: 7 }),
  "sub a number": () => ({ sub: 7 }),
  "no sub": () => ({ sub: undefined }),
  "iss a number": () => ({ iss: 7 }),
  "no iss": () => ({ iss: undefined }),
  stranger: () => ({ iss: "stranger" }),
  "aud of others": () => ({ aud: ["elsewhere"] }),
  "no aud": () => ({ aud: undefined }),
  "aud one text": () => ({ aud: "shop" }),
  "aud one url": () => ({ aud: "http://api.example.com" }),
  "aud with a number": () => ({ aud: ["shop", "b", 7] }),
  "aud an object": () => ({ aud: { shop: true } }),
};

const HEADS: Readonly<Record<string, Claims>> = {
  "alg none": { alg: "none" },
  "alg lower-case": { alg: "rs256" },
  "alg of another key": { alg: "RS512" },
  "alg a number": { alg: 5 },
  "no alg": { alg: undefined },
  "no kid": { kid: undefined },
  "kid unknown": { kid: "nobody's" },
  "kid a number": { kid: 7 },
  "kid empty": { kid: "" },
  "typ odd": { typ: "cheese" },
  crit: { crit: ["exp"] },
};

const TEXTS: Readonly<Record<string, (issuer: Issuer, claims: Claims) => string>> = {
  "foreign key": (_, claims) => STRANGER.token(claims),
  HS256: (issuer, claims) => {
    const [head, payload] = issuer.token(claims, { alg: "HS256" }).split(".");
    const mac = createHmac("sha256", JSON.stringify(issuer.jwk()));
    return `${head}.${payload}.${mac.update(`${head}.${payload}`).digest("base64url")}`;
  },
  cut: (issuer, claims) => issuer.token(claims).slice(0, -8),
  "no signature": (issuer, claims) => issuer.token(claims).replace(/[^.]*$/, ""),
  "four parts": (issuer, claims) => `${issuer.token(claims)}.x`,
  "two parts": (issuer, claims) => issuer.token(claims).replace(/\.[^.]*$/, ""),
  words: () => "not.a.token",
  empty: () => "",
  "payload a list": (issuer) => issuer.signed(`${encoded({ alg: issuer.alg })}.${encoded([1])}`),
  "payload no JSON": (issuer) => {
    return issuer.signed(`${encoded({ alg: issuer.alg })}.${encodedText("{iss")}`);
  },
  "a claim twice": (issuer, claims) => {
    const text = JSON.stringify(claims).replace("{", '{"iss":"stranger",');
    return issuer.signed(`${encoded({ alg: issuer.alg })}.${encodedText(text)}`);
  },
  "payload changed": (issuer, claims) => {
    const [head, , signature] = issuer.token(claims).split(".");
    return `${head}.${encoded({ ...claims, group: "root" })}.${signature}`;
  },
};

/** Around a token that is good. */
const AROUND: Readonly<Record<string, (place: Place, token: string) => string>> = {
  "two blanks": ({ prefix }, token) => `${prefix} ${token}`,
  "no prefix": (_, token) => token,
  "prefix in lower case": ({ prefix }, token) => prefix.toLowerCase() + token,
  "words behind": ({ prefix }, token) => `${prefix}${token} more`,
  quotes: ({ prefix }, token) => `${prefix}"${token}"`,
};

export type Flaw = string;
const FLAWS = [CLAIMS, HEADS, TEXTS, AROUND].flatMap((all) => Object.keys(all));

const encodedText = (text: string) => Buffer.from(text).toString("base64url");
const encoded = (value: unknown) => encodedText(JSON.stringify(value));

const GROUPS = [
  "a",
  "a b",
  "",
  ["a"],
  7,
  0,
  4_000_000_000_000,
  true,
  false,
  { x: 1 },
  null,
  "Łódź",
  ["a", 7, true, null, { y: "z" }],
  -5,
  1.5,
  1e21,
];
const OUTPUT_HEADERS = ["x-group", "x-deep", "x-payload"];

export class AuthenticationMaker {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  table(requests: number): AuthenticationTable {
    const issuers = this.#some(NAMES, 3);
    const rules = (issuers.length === 0 ? [NAMES[0]!] : issuers).map((name) => this.#rule(name));
    const source = { kind: "RequestAuthentication", namespace: "default", name: "jwt" };
    return {
      rules,
      authentications: [{ key: "default/jwt", rules, source, position: undefined }],
      requests: Array.from({ length: requests }, () => this.#request(rules)),
    };
  }

  #pick<T>(items: readonly T[]): T {
    return this.#random.pick(items);
  }

  #chance(oneIn: number): boolean {
    return this.#random.below(oneIn) === 0;
  }

  #some<T>(items: readonly T[], max: number): T[] {
    const left = [...items];
    return Array.from({ length: this.#random.below(max + 1) }, () => {
      return left.splice(this.#random.below(left.length), 1)[0]!;
    });
  }

  // ---- rules

  #rule(issuer: string): JwtRule {
    const isDefault = !this.#chance(3);
    const places = isDefault ? DEFAULT_PLACES : this.#places();
    const of = (kind: Place["kind"]) => places.filter((place) => place.kind === kind);
    const claimHeaders = [
      { header: "x-group", claim: "group" },
      { header: "x-deep", claim: "at.group" },
    ];
    return {
      issuer,
      audiences: this.#pick(AUDIENCES),
      jwks: this.#keys(issuer),
      fromHeaders: of("header").map(({ name, prefix }) => ({ name, prefix })),
      fromParams: of("parameter").map(({ name }) => name),
      fromCookies: of("cookie").map(({ name }) => name),
      forwardOriginalToken: this.#chance(2),
      outputPayloadToHeader: this.#chance(2) ? "x-payload" : "",
      outputClaimToHeaders: this.#some(claimHeaders, 2),
      spaceDelimitedClaims: ["scope", "permission"],
    };
  }

  #places(): readonly Place[] {
    const all: readonly Place[] = [
      { kind: "header", name: "x-token", prefix: this.#pick(["", "Token "]) },
      { kind: "parameter", name: "token", prefix: "" },
      { kind: "cookie", name: "t", prefix: "" },
    ];
    const some = this.#some(all, 2);
    return some.length === 0 ? [all[0]!] : some;
  }

  /** With what issuers may leave out, and others' keys beside theirs. */
  #keys(name: string): string {
    const issuer = ISSUERS.get(name)!;
    const own = issuer.jwk({
      ...(this.#chance(2) && { alg: issuer.alg }),
      ...(this.#chance(3) && { kid: undefined }),
      ...(this.#chance(3) && { use: "sig" }),
    });
    const others = this.#some(NAMES, 2).filter((other) => other !== name);
    const keys = others.map((other) => ISSUERS.get(other)!.jwk());
    return JSON.stringify({ keys: this.#chance(2) ? [own, ...keys] : [...keys, own] });
  }

  // ---- requests

  #request(rules: readonly JwtRule[]): AskedWithTokens {
    const count = this.#pick([0, 1, 1, 1, 1, 1, 1, 2]);
    const tokens = Array.from({ length: count }, () => this.#placed(rules));
    const isPreflight = this.#chance(20);
    const of = (kind: Place["kind"]) => tokens.filter((token) => token.kind === kind);
    const query = of("parameter").map(({ name, text }) => `${name}=${encodeURIComponent(text)}`);
    const cookies = of("cookie").map(({ name, text }) => `${name}=${text}`);
    if (this.#chance(3)) query.push("b=2", "a=1%20x");
    if (this.#chance(3)) cookies.unshift("other=1");
    return {
      method: isPreflight ? "OPTIONS" : this.#pick(["GET", "POST"]),
      target: `/p${query.length > 0 ? "?" : ""}${query.join("&")}`,
      headers: [
        ...of("header").map(({ name, text }) => [name, text] as const),
        ...(cookies.length > 0 ? [["cookie", cookies.join("; ")] as const] : []),
        ...this.#some(OUTPUT_HEADERS, this.#chance(3) ? 3 : 0).map((name) => {
          return [name, "forged"] as const;
        }),
        ...(isPreflight ? PREFLIGHT : []),
      ],
      bodyBytes: 0,
      tokens,
      isPreflight,
    };
  }

  #placed(rules: readonly JwtRule[]): Placed {
    const rule = this.#pick(rules);
    const places = this.#chance(12) ? DEFAULT_PLACES : placesOf(rule);
    const place = this.#pick(places);
    const flaw = this.#chance(3) ? "none" : this.#pick(FLAWS);
    const token = this.#token(rule, flaw);
    const text = AROUND[flaw]?.(place, token) ?? place.prefix + token;
    return { kind: place.kind, name: place.name, text, flaw };
  }

  #token(rule: JwtRule, flaw: Flaw): string {
    const issuer = ISSUERS.get(rule.issuer)!;
    const nowS = Math.floor(Date.now() / 1_000);
    const claims = {
      iss: rule.issuer,
      sub: "me",
      exp: nowS + 3_600,
      aud: rule.audiences.length === 0 ? undefined : [this.#pick(rule.audiences), "z"],
      group: this.#pick(GROUPS),
      at: this.#pick([undefined, { group: this.#pick(GROUPS) }]),
      ...CLAIMS[flaw]?.(nowS),
    };
    return TEXTS[flaw]?.(issuer, claims) ?? issuer.token(claims, HEADS[flaw]);
  }
}

const DEFAULT_PLACES: readonly Place[] = [
  { kind: "header", name: "authorization", prefix: "Bearer " },
  { kind: "parameter", name: "access_token", prefix: "" },
];

const PREFLIGHT = [
  ["origin", "https://a.example"],
  ["access-control-request-method", "GET"],
] as const;

function placesOf({ fromHeaders, fromParams, fromCookies }: JwtRule): readonly Place[] {
  return [
    ...fromHeaders.map((header) => ({ kind: "header" as const, ...header })),
    ...fromParams.map((name) => ({ kind: "parameter" as const, name, prefix: "" })),
    ...fromCookies.map((name) => ({ kind: "cookie" as const, name, prefix: "" })),
  ];
}
