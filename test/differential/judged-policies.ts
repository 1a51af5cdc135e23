/**
 * Policies and requests that Envoy can be asked about on loopback: those of the property tests,
 * with addresses and ports that a client here can have.
 */
import fc from "fast-check";
import type { AuthorizationPolicy, FieldMatch, FieldValue } from "../../src/model/rule.ts";
import type { HttpFacts } from "../../src/policy/facts.ts";
import { EVALUABLE_FIELDS, fieldMatchOf, mostlyOne, requests } from "../policy/arbitraries.ts";
import { policyOf } from "../policy/mesh.ts";

export const FIELDS = [...EVALUABLE_FIELDS, "sni"];
const OF_SOURCE =
  /^(principal|trustDomain|namespace|serviceAccount|sourceIp|remoteIp|requestPrincipal)$/;
const OF_OPERATION = /^(host|method|path|port)$/;
const SOURCE_FIELDS = FIELDS.filter((name) => OF_SOURCE.test(name));
const OPERATION_FIELDS = FIELDS.filter((name) => OF_OPERATION.test(name));

/** What people can write: validation refuses a field without values. */
const usable = (name: string) =>
  fieldMatchOf(name).filter(({ values, notValues }) => values.length + notValues.length > 0);
const anyOf = (names: readonly string[]) => fc.constantFrom(...names).chain(usable);

const wildRule = fc.record({
  from: mostlyOne(mostlyOne(anyOf(SOURCE_FIELDS))),
  to: mostlyOne(mostlyOne(anyOf(OPERATION_FIELDS))),
  when: mostlyOne(anyOf(FIELDS)),
});

/** One field on which much hangs, in its place or as a condition, and perhaps another. */
function ruleAbout(name: string): fc.Arbitrary<Parts> {
  return fc
    .record({
      field: usable(name),
      isCondition: fc.boolean(),
      more: fc.option(anyOf(FIELDS), { freq: 1 }),
    })
    .map(({ field, isCondition, more }) => ({
      from: !isCondition && OF_SOURCE.test(name) ? [[field]] : [],
      to: !isCondition && OF_OPERATION.test(name) ? [[field]] : [],
      when: [
        ...(isCondition || !(OF_SOURCE.test(name) || OF_OPERATION.test(name)) ? [field] : []),
        ...(more === null ? [] : [more]),
      ],
    }));
}

interface Parts {
  from: FieldMatch[][];
  to: FieldMatch[][];
  when: FieldMatch[];
}

interface PolicyParts {
  readonly action: AuthorizationPolicy["action"];
  readonly rules: readonly Parts[];
  readonly isDryRun: boolean;
}

const action = fc.constantFrom("ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT", "CUSTOM");
const wildPolicy: fc.Arbitrary<PolicyParts> = fc.record({
  action: action as fc.Arbitrary<AuthorizationPolicy["action"]>,
  rules: mostlyOne(wildRule),
  isDryRun: fc.integer({ max: 15 }).map((n) => n === 0),
});

/** `portOf`: the policies' ports as listeners have them. */
export function policySets(portOf: (port: number) => number): fc.Arbitrary<AuthorizationPolicy[]> {
  const about = fc.constantFrom(...FIELDS).chain((name) =>
    fc.record<PolicyParts>({
      action: fc.constantFrom("ALLOW", "DENY"),
      rules: ruleAbout(name).map((rule) => [rule]),
      isDryRun: fc.constant(false),
    }),
  );
  const wild = fc.array(wildPolicy, { minLength: 1, maxLength: 3 });
  return fc
    .oneof({ weight: 7, arbitrary: about.map((one) => [one]) }, { weight: 3, arbitrary: wild })
    .map((all) => all.map((parts, i) => made(parts, `${i % 2 ? "a" : "b"}/p${i}`, portOf)));
}

/** CUSTOM policies whose provider cannot be asked, which deny. */
const NOBODY = { name: "nobody", service: undefined, problem: undefined };

function made(
  { action, rules, isDryRun }: PolicyParts,
  key: string,
  portOf: (port: number) => number,
): AuthorizationPolicy {
  const here = (field: FieldMatch): FieldMatch => ({
    ...field,
    values: field.values.map((value) => onLoopback(value, portOf)),
    notValues: field.notValues.map((value) => onLoopback(value, portOf)),
  });
  return policyOf({
    key,
    action,
    isDryRun: isDryRun && action !== "CUSTOM",
    provider: action === "CUSTOM" ? NOBODY : undefined,
    rules: rules.map(({ from, to, when }, index) => ({
      index,
      from: from.map((set) => set.map(here)),
      to: to.map((set) => set.map(here)),
      when: when.map(here),
      position: undefined,
    })),
  });
}

/** 10.0.0.0/8 is 127.0.0.0/8 here. */
function onLoopback(value: FieldValue, portOf: (port: number) => number): FieldValue {
  if (value.type === "port") {
    const port = portOf(value.port);
    return { type: "port", port, text: String(port) };
  }
  if (value.type !== "cidr") return value;
  const text = value.text.replace(/^10\./, "127.");
  return {
    type: "cidr",
    text,
    cidr: { ...value.cidr, text, bytes: value.cidr.bytes.replace(/^0a/, "7f") },
  };
}

export interface JudgedRequest {
  readonly sourceIdentity: string | undefined;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly port: number;
  readonly serverName: string | undefined;
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly authority: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly jwt: HttpFacts["jwt"];
  /** What is wrong with the token, if there is one. */
  readonly flaw: Flaw;
}

const FLAWS = [
  ...["expired", "early", "foreign key", "issuer", "audience", "alg none", "HS256", "cut", "words"],
  ...["no kid", "unknown kid", "other alg", "parameter"],
] as const;
export type Flaw = (typeof FLAWS)[number] | "none";

const PATHS = [
  ...["/a//b", "/a/./b", "/a/../d/c", "/%61/b", "/a%2Fb", "/a%2fb/c", "/a/%2e%2e/d/c", "/a\\b"],
  ...["/a/b%00", "/A", "//a", "/a/b;x=1", "/a/%62", "/a%5Cb", "/a/b//", "/a/b%20c", "/a/..;/d/c"],
] as const;

export function judgedRequests(portOf: (port: number) => number): fc.Arbitrary<JudgedRequest> {
  const address = (text: string) =>
    text.includes("db8") ? "127.3.0.7" : text.replace(/^::ffff:/, "").replace(/^10\./, "127.");
  return fc
    .record({
      facts: requests,
      odd: fc.option(fc.constantFrom(...PATHS), { nil: undefined, freq: 3 }),
      flaw: fc.oneof(
        { weight: 6, arbitrary: fc.constant<Flaw>("none") },
        { weight: 1, arbitrary: fc.constantFrom<Flaw>(...FLAWS) },
      ),
    })
    .map(({ facts, odd, flaw }) => {
      const { remoteAddress, jwt, serverName } = facts;
      const user = facts.header("x-user");
      return {
        sourceIdentity: facts.sourceIdentity,
        sourceAddress: address(facts.sourceAddress),
        destinationAddress: address(facts.destinationAddress),
        port: portOf(facts.destinationPort),
        serverName,
        method: facts.method,
        path: odd ?? facts.path,
        query: facts.query,
        authority: facts.authority,
        headers: {
          ...(user !== undefined && { "x-user": user }),
          ...(remoteAddress !== undefined && { "x-forwarded-for": `192.0.2.1, ${remoteAddress}` }),
        },
        jwt,
        flaw,
      };
    });
}
