/**
 * D4: what a ztunnel makes of policies it cannot judge in full fails closed. A connection of which
 * a waypoint would deny every request is not let in by the same policies, cut to layer 4.
 *
 * `WAYSTONE_SETS` is the number of policy sets; the requests of each are all that its values can
 * tell apart.
 */
import { expect, test } from "vitest";
import type { AuthorizationPolicy } from "../../src/api/authorization-policy.ts";
import type { ParsedObject } from "../../src/api/object.ts";
import { DEFAULT_SETTINGS } from "../../src/model/settings.ts";
import { httpDecider, l4Decider } from "../../src/policy/decider.ts";
import type { ConnectionFacts, HttpFacts } from "../../src/policy/facts.ts";
import { Findings } from "../../src/translate/findings.ts";
import { translateL4Policy } from "../../src/translate/l4-policies.ts";
import { translateRules } from "../../src/translate/policies.ts";
import { Random } from "../fuzz/random.ts";
import { HTTP_HOP, request, SERVICE, snapshotOf, WAYPOINT, WORKLOAD } from "./mesh.ts";

const SETS = Number(process.env.WAYSTONE_SETS ?? 3_000);
const SEED = Number(process.env.WAYSTONE_SEED ?? Date.now() % 1_000_000);
const random = new Random(SEED);
const chance = (oneIn: number) => random.below(oneIn) === 0;

const SOURCES = {
  principals: ["cluster.local/ns/a/sa/x", "cluster.local/ns/a/*", "*/sa/y", "*"],
  namespaces: ["a", "b", "*"],
  serviceAccounts: ["a/x", "b/y"],
  ipBlocks: ["10.0.0.1", "10.0.0.0/16", "no address"],
  remoteIpBlocks: ["10.9.0.0/16"],
  requestPrincipals: ["me/*", "*"],
  trustDomains: ["cluster.local", "far"],
};
const OPERATIONS = {
  methods: ["GET", "P*"],
  paths: ["/a", "/a/*", "*/b", "/{*}"],
  hosts: ["a.test", "*.test"],
  ports: ["80", "8080", "no port"],
};
const CONDITIONS = {
  "request.headers[x-user]": ["one", "*"],
  "request.auth.claims[group]": ["admin"],
  "source.ip": ["10.0.0.1"],
  "source.namespace": ["a"],
  "destination.port": ["80"],
  "connection.sni": ["a.test"],
  "moon.phase": ["full"],
};

function some(values: readonly string[]): string[] {
  return [random.pick(values), ...(chance(3) ? [random.pick(values)] : [])];
}

function fields(of: Readonly<Record<string, readonly string[]>>): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (let i = 1 + random.below(2); i > 0; i--) {
    const name = random.pick(Object.keys(of));
    const negative = `not${name[0]!.toUpperCase()}${name.slice(1)}`;
    found[chance(4) ? negative : name] = some(of[name]!);
  }
  return found;
}

function condition() {
  const key = random.pick(Object.keys(CONDITIONS)) as keyof typeof CONDITIONS;
  return { key, [chance(4) ? "notValues" : "values"]: some(CONDITIONS[key]) };
}

function times<T>(max: number, make: () => T): T[] {
  return Array.from({ length: random.below(max + 1) }, make);
}

function policy(index: number): ParsedObject<AuthorizationPolicy> {
  const position = { file: "policy.yaml", line: 1, column: 1 };
  const rule = () => ({
    ...(chance(2) && { from: times(2, () => ({ source: fields(SOURCES) })) }),
    ...(chance(2) && { to: times(2, () => ({ operation: fields(OPERATIONS) })) }),
    ...(chance(3) && { when: times(2, condition) }),
  });
  const spec = { action: random.pick(["ALLOW", "ALLOW", "DENY"] as const), rules: times(2, rule) };
  const metadata = { namespace: "default", name: `p${index}` };
  const value: AuthorizationPolicy = {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata,
    spec,
  };
  return { kind: "AuthorizationPolicy", value, position, positionOf: () => position };
}

const CONNECTIONS: readonly ConnectionFacts[] = [
  undefined,
  "spiffe://cluster.local/ns/a/sa/x",
  "spiffe://cluster.local/ns/a/sa/y",
  "spiffe://cluster.local/ns/b/sa/y",
  "spiffe://far/ns/c/sa/z",
].flatMap((sourceIdentity) =>
  ["10.0.0.1", "10.0.7.7", "192.0.2.1"].flatMap((sourceAddress) =>
    [80, 8080, 9].map((destinationPort) => ({
      ...{ sourceIdentity, sourceAddress, destinationPort },
      destinationAddress: "10.96.0.1",
    })),
  ),
);

/** Every combination of values that some rule can tell apart, and one that none asks for. */
const REQUESTS: readonly Partial<HttpFacts>[] = ["GET", "POST", "DELETE"].flatMap((method) =>
  ["/a", "/a/b", "/c", "/c/d"].flatMap((path) =>
    ["a.test", "b.test", "other"].flatMap((authority) =>
      [undefined, "one", "two"].flatMap((user) =>
        [undefined, "me", "other"].flatMap((issuer) =>
          [undefined, "10.9.1.1"].map((remoteAddress) => ({
            ...{ method, path, authority, remoteAddress },
            header: (name: string) => (name === "x-user" ? user : undefined),
            jwt: issuer && {
              principal: `${issuer}/x`,
              claims: { group: chance(2) ? "admin" : "" },
            },
          })),
        ),
      ),
    ),
  ),
) as readonly Partial<HttpFacts>[];

test("cut to layer 4, policies let in no connection of which all requests are denied", () => {
  let closed = 0;
  let open = 0;
  for (let i = 0; i < SETS; i++) {
    const objects = Array.from({ length: 1 + random.below(3) }, (_, index) => policy(index));
    const rules = objects.map((one) => translateRules(one, DEFAULT_SETTINGS, new Findings(one)));
    const cut = objects.flatMap(
      (one) => translateL4Policy(one, DEFAULT_SETTINGS).facts?.policy ?? [],
    );
    const snapshot = snapshotOf({ policies: { [`Service/${SERVICE}`]: rules }, l4Policies: cut });
    const workload = snapshot.workloads.get(WORKLOAD)!;
    for (let j = 0; j < 5; j++) {
      const facts = random.pick(CONNECTIONS);
      const atZtunnel = l4Decider(snapshot, workload).authorize(facts);
      if (!atZtunnel.isAllowed) continue;
      const decider = httpDecider(snapshot, WAYPOINT, { service: SERVICE }, HTTP_PORT);
      const isLetIn = REQUESTS.some(
        (one) => decider.authorize(request({ ...facts, ...one })).isAllowed,
      );
      const why = `seed ${SEED}, ${JSON.stringify(facts)}: ${JSON.stringify(objects.map((o) => o.value.spec))}`;
      expect(isLetIn, why).toBe(true);
      open++;
    }
    closed += cut.length;
  }
  // Both kinds have to be there often, or the comparison means nothing.
  expect(open).toBeGreaterThan(SETS / 4);
  expect(closed).toBeGreaterThan(SETS / 2);
});

const HTTP_PORT = "port" in HTTP_HOP ? HTTP_HOP.port : 80;
