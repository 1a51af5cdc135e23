/** What a schema cannot say of a RequestAuthentication. */
import type { FieldPath } from "../object.ts";
import { durationProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { attachmentProblems } from "./policy-attachment.ts";
import { type Problems, problem, warning } from "./problem.ts";

interface JwtRule {
  readonly issuer?: string;
  readonly audiences?: readonly string[];
  readonly jwksUri?: string;
  readonly jwks_uri?: string;
  readonly jwks?: string;
  readonly fromHeaders?: readonly ({ readonly name?: string } | null)[];
  readonly fromParams?: readonly string[];
  readonly fromCookies?: readonly string[];
  readonly outputClaimToHeaders?: readonly ({ claim?: string; header?: string } | null)[];
}

const SCHEMES: ReadonlySet<string> = new Set(["http:", "https:"]);
const KEY_FIELDS = ["jwksUri", "jwks_uri", "jwks"] as const;
const HEADER_NAME = /^[-_A-Za-z0-9]+$/;
/** Of a JSON Web Key: what only its owner may know (RFC 7518 §6). */
const PRIVATE_PARTS = ["d", "p", "q", "dp", "dq", "qi", "k"];

export function* requestAuthenticationProblems(policy: unknown): Problems {
  yield* attachmentProblems(policy);
  yield* durationProblems(policy, ["spec.jwtRules[].timeout"]);
  for (const { path, value } of each<JwtRule>(policy, "spec.jwtRules[]")) {
    yield* keyProblems(value, path);
    yield* placeProblems(value, path);
  }
}

function* keyProblems(rule: JwtRule, path: FieldPath): Problems {
  const [first, ...others] = KEY_FIELDS.filter((field) => (rule[field] ?? "") !== "");
  for (const other of others) yield problem([...path, other], `and ${first} exclude each other`);
  if ((rule.issuer ?? "") === "" && (rule.jwksUri ?? "") === "") {
    yield problem([...path, "issuer"], "or jwksUri is required");
  }
  for (const field of ["jwksUri", "jwks_uri"] as const) {
    const uri = rule[field] ?? "";
    if (uri !== "" && !isHttpUrl(uri)) {
      yield problem([...path, field], "must be a URL of http or https");
    }
  }
  if ((rule.jwks ?? "") !== "") yield* keySetProblems(rule.jwks!, [...path, "jwks"]);
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && !/[\\\s]/.test(text) && SCHEMES.has(new URL(text).protocol);
}

function* keySetProblems(text: string, path: FieldPath): Problems {
  let keys: unknown;
  try {
    const set = JSON.parse(text) as { keys?: unknown; kty?: unknown };
    keys = set.keys ?? [set];
  } catch {
    keys = undefined;
  }
  const isSet =
    Array.isArray(keys) && keys.every((key) => typeof (key as { kty?: unknown })?.kty === "string");
  if (!isSet) {
    yield problem(path, 'must be a JSON Web Key Set: {"keys": […]}');
    return;
  }
  for (const [i, key] of (keys as object[]).entries()) {
    if (!PRIVATE_PARTS.some((part) => Object.hasOwn(key, part))) continue;
    yield warning(path, `has a private key (keys[${i}]): public keys are enough, and safe to show`);
  }
}

function* placeProblems(rule: JwtRule, path: FieldPath): Problems {
  for (const field of ["audiences", "fromParams", "fromCookies"] as const) {
    for (const [i, text] of (rule[field] ?? []).entries()) {
      if (text === "") yield problem([...path, field, i], "must not be empty");
    }
  }
  for (const [i, header] of (rule.fromHeaders ?? []).entries()) {
    if ((header?.name ?? "") === "")
      yield problem([...path, "fromHeaders", i, "name"], "is required");
  }
  for (const [i, output] of (rule.outputClaimToHeaders ?? []).entries()) {
    const at = [...path, "outputClaimToHeaders", i];
    const { claim = "", header = "" } = output ?? {};
    if (claim === "") yield problem([...at, "claim"], "is required");
    if (header === "") yield problem([...at, "header"], "is required");
    else if (!HEADER_NAME.test(header)) {
      yield problem([...at, "header"], "must be a name of letters, digits, - and _");
    }
  }
}
