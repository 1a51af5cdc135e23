import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { l4Policies } from "../../test/support/model-arbitraries.ts";
import type { L4Policy } from "../model/rule.ts";
import { decodeAuthorization, encodeAuthorization } from "./authorization.ts";
import { AuthorizationSchema } from "./gen/istio/authorization_pb.ts";

test("a policy survives the wire", () => {
  fc.assert(
    fc.property(l4Policies, (policy) => {
      expect(decodeAuthorization(encodeAuthorization(policy))).toEqual(policy);
    }),
  );
});

const [SAMPLE] = fc.sample(l4Policies, 1);

function withPrincipal(type: "template" | "exact"): L4Policy {
  const value = "td/ns/a/sa/x";
  const [empty] = decodeAuthorization(matching({})).rules[0]!.clauses[0]!;
  const match = { ...empty!, principals: [{ type, value }] } as const;
  return { ...SAMPLE!, rules: [{ clauses: [[match]], position: undefined }] };
}

test("what no ztunnel can evaluate is sent as what never matches", () => {
  const sent = (type: "template" | "exact") => {
    const message = fromBinary(AuthorizationSchema, encodeAuthorization(withPrincipal(type)));
    return message.rules[0]?.clauses[0]?.matches[0]?.principals[0]?.matchType;
  };
  expect(sent("exact")).toEqual({ case: "exact", value: "td/ns/a/sa/x" });
  expect(sent("template")).toEqual({ case: "exact", value: "" });
});

type Authorization = MessageInitShape<typeof AuthorizationSchema>;

function bytesOf(message: object): Uint8Array {
  const named = { name: "p", namespace: "a", ...message } as Authorization;
  return toBinary(AuthorizationSchema, create(AuthorizationSchema, named));
}

function matching(match: object): Uint8Array {
  return bytesOf({ rules: [{ clauses: [{ matches: [match] }] }] });
}

const range = (size: number, length: number) => ({ address: new Uint8Array(size), length });

const REFUSED: readonly [string, Uint8Array, RegExp][] = [
  ["no name", bytesOf({ name: "" }), /no namespace or name/],
  ["no namespace", bytesOf({ namespace: "" }), /no namespace or name/],
  ["a name of two", bytesOf({ name: "p/q" }), /slash/],
  ["a scope of tomorrow", bytesOf({ scope: 3 }), /scope 3/],
  ["an action of tomorrow", bytesOf({ action: 2 }), /action 2/],
  ["a string match of no kind", matching({ principals: [{}] }), /of no kind/],
  ["a range of 3 bytes", matching({ sourceIps: [range(3, 1)] }), /3 bytes/],
  ["a prefix beyond the address", matching({ notDestinationIps: [range(4, 33)] }), /33 bits/],
  ["a port beyond the last", matching({ destinationPorts: [70_000] }), /no port 70000/],
];

test.each(REFUSED)("%s is refused", (_, bytes, why) => {
  expect(() => decodeAuthorization(bytes)).toThrow(why);
});

test("a policy of another's server is taken as it is", () => {
  expect(decodeAuthorization(matching({ sourceIps: [range(4, 8)] }))).toMatchObject({
    key: "a/p",
    scope: "GLOBAL",
    action: "ALLOW",
    source: { kind: "AuthorizationPolicy", namespace: "a", name: "p" },
    rules: [{ clauses: [[{ sourceIps: [{ text: "0.0.0.0/8", bytes: "00000000" }] }]] }],
  });
});
