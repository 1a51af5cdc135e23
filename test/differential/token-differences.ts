/**
 * The ways in which Waystone may differ from Envoy's JWT filter, as istiod sets it up: each with
 * the sentence that asks for it, or that leaves it open. Anything else is a mistake of somebody's.
 */
import type { JwtRule } from "../../src/model/request-authentication.ts";
import type { AskedWithTokens, AuthenticationTable } from "./authentications.ts";
import type { Outcome } from "./clients.ts";
import { isSame } from "./differences.ts";

interface Request {
  readonly asked: AskedWithTokens;
  readonly rules: readonly JwtRule[];
}

interface TokenDifference {
  readonly name: string;
  readonly source: string;
  /** Makes both say alike what the sentence leaves open. */
  readonly level?: (outcome: Outcome, request: Request) => Outcome;
  /** Whether one may be let through, or refused, where the other is not. */
  readonly mayDecideOtherwise?: (ours: number, theirs: number, request: Request) => boolean;
}

export const TOKEN_DIFFERENCES: readonly TokenDifference[] = [
  {
    name: "several tokens",
    source:
      'Istio, RequestAuthentication jwtRules: "Requests with multiple tokens (at different ' +
      'locations) are not supported, the output principal of such requests is undefined"; all of ' +
      "them have to be good here",
    mayDecideOtherwise: (_ours, _theirs, { asked }) => asked.tokens.length > 1,
    level: (outcome, { asked }) =>
      asked.tokens.length > 1 ? { ...outcome, headers: [], seen: undefined } : outcome,
  },
  {
    name: "removed tokens",
    source:
      'Istio, JWTRule forwardOriginalToken: "If set to true, the original token will be kept for ' +
      'the upstream request. Default is false"; Envoy keeps those in cookies, and takes others out ' +
      "of a query that it decodes and sorts",
    level: (outcome, { rules }) =>
      rules.every((rule) => rule.forwardOriginalToken) ? outcome : withoutTokens(outcome, rules),
    mayDecideOtherwise: (ours, theirs, { asked, rules }) =>
      rules.some((rule) => !rule.forwardOriginalToken) &&
      asked.tokens.some(({ kind }) => kind === "parameter") &&
      asked.target.includes("%20") &&
      [ours, theirs].join() === "200,400",
  },
  {
    name: "what makes a token good",
    source:
      'RFC 7519 §4.1.4: "the expiration time on or after which the JWT MUST NOT be accepted", also ' +
      'when it is 0; RFC 7515 §4.1.11: "If any of the listed extension Header Parameters are not ' +
      'understood and supported by the recipient, then the JWS is invalid", and §5.2: "the algorithm ' +
      'being used, which MUST be accurately represented by the value of the "alg""',
    mayDecideOtherwise: (ours, theirs, { asked, rules }) => {
      const flaws = asked.tokens.map(({ flaw }) => flaw);
      const isStricter = flaws.some((flaw) => STRICTER.has(flaw)) && ours === 401 && theirs !== 403;
      // Envoy ends its search for a key at one of Ed25519, whatever the algorithm.
      const isPatient =
        flaws.some((flaw) => /^(no kid|kid empty)$/.test(flaw)) && rules.some(hasEd25519Key);
      return isStricter || (isPatient && ours === 200 && theirs === 401);
    },
  },
];

const STRICTER = new Set(["exp zero", "alg of another key", "crit"]);

function hasEd25519Key({ jwks = "" }: JwtRule): boolean {
  return jwks.includes('"OKP"');
}

/** The query decoded and sorted, and no cookies of tokens. */
function withoutTokens(outcome: Outcome, rules: readonly JwtRule[]): Outcome {
  const { seen } = outcome;
  if (seen === undefined) return outcome;
  const names = rules.flatMap(({ fromCookies }) => fromCookies);
  const [target = "", query = ""] = seen.line.split("?");
  const pairs = query.split("&").map((pair) => decodeURIComponent(pair));
  const headers = seen.headers.map((line) => {
    if (!line.startsWith("cookie: ")) return line;
    const cookies = line.slice("cookie: ".length).split("; ");
    return `cookie: ${cookies.filter((cookie) => !names.includes(cookie.split("=")[0]!)).join("; ")}`;
  });
  return {
    ...outcome,
    seen: {
      ...seen,
      line: [target, pairs.sort().join("&")].filter((part) => part !== "").join("?"),
      headers: headers.filter((line) => line !== "cookie: "),
    },
  };
}

/** The classes that account for how the two differ; `undefined`: they do not. */
export function explainedTokens(
  ours: Outcome,
  theirs: Outcome,
  asked: AskedWithTokens,
  { rules }: AuthenticationTable,
): readonly string[] | undefined {
  const request = { asked, rules };
  if (ours.status !== theirs.status) {
    const may = TOKEN_DIFFERENCES.find((one) =>
      one.mayDecideOtherwise?.(ours.status, theirs.status, request),
    );
    return may && [may.name];
  }
  const used: string[] = [];
  let [first, second] = [ours, theirs];
  for (const { name, level } of TOKEN_DIFFERENCES) {
    if (level === undefined || isSame(first, second)) continue;
    const changed = [level(first, request), level(second, request)] as const;
    if (!isSame(changed[0], first) || !isSame(changed[1], second)) used.push(name);
    [first, second] = changed;
  }
  return isSame(first, second) ? used : undefined;
}
