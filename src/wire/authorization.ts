/** L4 policies: model ⇄ `istio.security.Authorization`. */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { ObjectRef, SourcePosition } from "../model/object-ref.ts";
import type { Cidr, L4Match, L4Policy, L4Rule, StringMatch } from "../model/rule.ts";
import { nameOf, portOf } from "./enums.ts";
import { originExtension, readOrigin } from "./extension.ts";
import {
  Action,
  AuthorizationSchema,
  type Match,
  type MatchSchema,
  type Rule,
  Scope,
  type StringMatchSchema,
  type Address as WireAddress,
  type StringMatch as WireStringMatch,
} from "./gen/istio/authorization_pb.ts";
import { ipText } from "./ip.ts";
import { count, JsonReader, list, objectRef, position, record, text } from "./shapes.ts";

interface PolicyOrigin {
  readonly source: ObjectRef;
  readonly position?: SourcePosition;
  /** Of each rule; an empty one: it has none. */
  readonly rules: readonly Partial<SourcePosition>[];
  /** Ranges as they were written, in the order of the fields; "": as it reads on the wire. */
  readonly ranges: readonly string[];
  readonly because?: string;
}

const ORIGIN = new JsonReader<PolicyOrigin>(
  record(
    {
      source: objectRef,
      rules: list({
        optionalProperties: { file: text, line: count, column: count },
        additionalProperties: true,
      }),
      ranges: list(text),
    },
    { position, because: text },
  ),
);

export function encodeAuthorization(policy: L4Policy): Uint8Array {
  const { name, namespace, source, position: at, because } = policy;
  const ranges: string[] = [];
  const rules = policy.rules.map(({ clauses }) => ({
    clauses: clauses.map((matches) => ({
      matches: matches.map((match) => encodeMatch(match, ranges)),
    })),
  }));
  const origin: PolicyOrigin = {
    source,
    rules: policy.rules.map((rule) => rule.position ?? {}),
    ranges: ranges.some((text) => text !== "") ? ranges : [],
    ...(at && { position: at }),
    ...(because !== undefined && { because }),
  };
  const message = create(AuthorizationSchema, {
    name,
    namespace,
    scope: Scope[policy.scope],
    action: Action[policy.action],
    dryRun: policy.isDryRun,
    rules,
    extensions: [originExtension(origin)],
  });
  return toBinary(AuthorizationSchema, message);
}

function encodeMatch(match: L4Match, ranges: string[]): MessageInitShape<typeof MatchSchema> {
  const addresses = (cidrs: readonly Cidr[]) => cidrs.map((cidr) => encodeCidr(cidr, ranges));
  return {
    namespaces: match.namespaces.map(encodeString),
    notNamespaces: match.notNamespaces.map(encodeString),
    principals: match.principals.map(encodeString),
    notPrincipals: match.notPrincipals.map(encodeString),
    sourceIps: addresses(match.sourceIps),
    notSourceIps: addresses(match.notSourceIps),
    destinationIps: addresses(match.destinationIps),
    notDestinationIps: addresses(match.notDestinationIps),
    destinationPorts: [...match.destinationPorts],
    notDestinationPorts: [...match.notDestinationPorts],
    serviceAccounts: match.serviceAccounts.map((one) => ({ ...one })),
    notServiceAccounts: match.notServiceAccounts.map((one) => ({ ...one })),
  };
}

function encodeString(match: StringMatch): MessageInitShape<typeof StringMatchSchema> {
  switch (match.type) {
    case "presence":
      return { matchType: { case: "presence", value: {} } };
    case "template":
      // No L4 field has templates; what nobody can evaluate must never match.
      return { matchType: { case: "exact", value: "" } };
    default:
      return { matchType: { case: match.type, value: match.value } };
  }
}

function encodeCidr({ bytes, prefixLength, text: written }: Cidr, ranges: string[]) {
  const address = Buffer.from(bytes, "hex");
  ranges.push(rangeText(address, prefixLength) === written ? "" : written);
  return { address: new Uint8Array(address), length: prefixLength };
}

function rangeText(address: Uint8Array, length: number): string | undefined {
  const ip = ipText(address);
  return ip && `${ip}/${length}`;
}

/** Throws with what is wrong. */
export function decodeAuthorization(bytes: Uint8Array): L4Policy {
  const message = fromBinary(AuthorizationSchema, bytes);
  const { name, namespace } = message;
  if (name === "" || namespace === "") throw new Error("no namespace or name");
  if (`${namespace}${name}`.includes("/")) throw new Error("a slash in namespace or name");
  const origin = readOrigin(message.extensions, ORIGIN);
  // Taken from as the ranges are met: the order of the fields is the same on both sides.
  const written = origin?.ranges.values() ?? [].values();
  return {
    key: `${namespace}/${name}`,
    namespace,
    name,
    scope: nameOf(Scope, message.scope, "scope"),
    action: nameOf(Action, message.action, "action"),
    rules: message.rules.map((rule, index) => decodeRule(rule, origin?.rules[index], written)),
    isDryRun: message.dryRun,
    source: origin?.source ?? { kind: "AuthorizationPolicy", namespace, name },
    position: origin?.position,
    because: origin?.because,
  };
}

type Written = Iterator<string, unknown>;

function decodeRule(
  { clauses }: Rule,
  at: Partial<SourcePosition> | undefined,
  written: Written,
): L4Rule {
  const { file, line, column } = at ?? {};
  const isPlaced = file !== undefined && line !== undefined && column !== undefined;
  return {
    clauses: clauses.map(({ matches }) => matches.map((match) => decodeMatch(match, written))),
    position: isPlaced ? { file, line, column } : undefined,
  };
}

function decodeMatch(match: Match, written: Written): L4Match {
  const cidrs = (all: readonly WireAddress[]) => all.map((one) => decodeCidr(one, written));
  return {
    namespaces: match.namespaces.map(decodeString),
    notNamespaces: match.notNamespaces.map(decodeString),
    principals: match.principals.map(decodeString),
    notPrincipals: match.notPrincipals.map(decodeString),
    serviceAccounts: match.serviceAccounts.map(decodeAccount),
    notServiceAccounts: match.notServiceAccounts.map(decodeAccount),
    sourceIps: cidrs(match.sourceIps),
    notSourceIps: cidrs(match.notSourceIps),
    destinationIps: cidrs(match.destinationIps),
    notDestinationIps: cidrs(match.notDestinationIps),
    destinationPorts: match.destinationPorts.map(portOf),
    notDestinationPorts: match.notDestinationPorts.map(portOf),
  };
}

function decodeAccount(match: { namespace: string; serviceAccount: string }) {
  return { namespace: match.namespace, serviceAccount: match.serviceAccount };
}

function decodeString({ matchType }: WireStringMatch): StringMatch {
  switch (matchType.case) {
    case "exact":
    case "prefix":
    case "suffix":
      return { type: matchType.case, value: matchType.value };
    case "presence":
      return { type: "presence" };
    default:
      throw new Error("a string match of no kind");
  }
}

function decodeCidr({ address, length }: WireAddress, written: Written): Cidr {
  const read = rangeText(address, length);
  if (read === undefined) throw new Error(`an address of ${address.length} bytes`);
  if (length > address.length * 8) throw new Error(`a prefix of ${length} bits`);
  const bytes = Buffer.from(address).toString("hex");
  const { value } = written.next();
  return { bytes, prefixLength: length, text: (value as string | undefined) || read };
}
