import { expect, test } from "vitest";
import {
  field,
  HTTP_HOP,
  L4_HOP,
  type MeshParts,
  policyOf,
  routeOf,
  SERVICE,
  SERVICE_VALUE,
  snapshotOf,
  WAYPOINT,
  WORKLOAD,
  workloadOf,
} from "../../../test/policy/mesh.ts";
import type { RequestAuthentication } from "../../model/request-authentication.ts";
import type { HttpRouteRule } from "../../model/route.ts";
import type { AuthorizationPolicy } from "../../model/rule.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { WaypointBinding } from "../../model/waypoint.ts";
import type { Hop } from "../../policy/facts.ts";
import { DecisionLog, type RecordedFacts } from "../../telemetry/decision-log.ts";
import type { DecisionPayload } from "../decision-record.ts";
import { judge } from "./judge.ts";
import { type RecordedRequest, readRecordedRequest, recordedRequest } from "./recorded-request.ts";

const TARGET = `Service/${SERVICE}`;
const BOUND: WaypointBinding = {
  state: "bound",
  waypoint: WAYPOINT,
  service: "default/waypoint.default.svc.cluster.local",
  hbonePort: 15008,
};

function meshOf(parts: MeshParts = {}, waypoint: WaypointBinding | undefined = BOUND): Snapshot {
  return snapshotOf({ services: [{ ...SERVICE_VALUE, waypoint }], ...parts });
}

function withPolicies(...policies: readonly AuthorizationPolicy[]): MeshParts {
  return { policies: { [TARGET]: policies } };
}

const allow = (name: string, value: string, key = "default/rule"): AuthorizationPolicy => {
  const fields = [[field(name as "method", value)]];
  const rule = { index: 0, from: [], to: fields, when: [], position: undefined };
  return policyOf({ key, rules: [rule] });
};

const FACTS: RecordedFacts = {
  sourceIdentity: "spiffe://cluster.local/ns/default/sa/client",
  sourceAddress: "10.0.0.1",
  destinationAddress: "10.96.0.1",
  destinationPort: 9080,
  method: "GET",
  path: "/a",
  query: "",
  authority: "reviews",
  headers: [],
};

interface Given {
  readonly facts?: Partial<RecordedFacts>;
  readonly payload?: Partial<DecisionPayload>;
  readonly hop?: Hop;
}

/** Recorded as a proxy does it, secrets taken out, and read from a file. */
function record(snapshot: Snapshot, { facts, payload, hop = HTTP_HOP }: Given = {}) {
  const log = new DecisionLog<DecisionPayload>();
  log.record({
    id: "1",
    proxy: hop.proxy,
    target: SERVICE,
    atMs: 0,
    facts: { ...FACTS, ...facts },
    snapshot,
    payload: { hop, draw: 0, status: 200, flags: "-", servedBy: "", ...payload },
  });
  const text = JSON.stringify(recordedRequest(log.find("1")!));
  return readRecordedRequest(JSON.parse(text));
}

const before = meshOf();
const isDrawn = { isDrawn: true } as const;

test("judge() says which policy would decide otherwise, and where it stands", () => {
  const request = record(before);
  expect(request.outcome).toMatchObject({ isAllowed: true, because: "noAllowPolicies" });
  const { outcome } = judge(meshOf(withPolicies(allow("method", "POST"))), request);
  expect(outcome).toMatchObject({ isAllowed: false, status: 403, because: "noAllowMatched" });
  const denying = { ...allow("method", "GET"), action: "DENY" } as const;
  expect(judge(meshOf(withPolicies(denying)), request).outcome).toMatchObject({
    isAllowed: false,
    policy: "default/rule",
    rule: 0,
    policyAt: "rule.yaml:1:1",
  });
});

const split = (first: number, second: number, parts: Partial<HttpRouteRule> = {}): MeshParts => {
  const backend = { port: 80, problem: undefined, position: undefined, filters: [] };
  const backends = [
    { ...backend, weight: first, service: "default/one.default.svc.cluster.local" },
    { ...backend, weight: second, service: "default/two.default.svc.cluster.local" },
  ];
  const route = routeOf("r", [{ backends, ...parts }]);
  return { routes: { [TARGET]: [{ route, ports: [] }] } };
};

test("a recorded draw falls where it fell, or where the new weights put it", () => {
  const request = record(meshOf(split(90, 10)), { payload: { draw: 0.5, ...isDrawn } });
  const one = ["default/one.default.svc.cluster.local:80"];
  expect(request.outcome?.backends).toEqual(one);
  expect(judge(meshOf(split(80, 20)), request).outcome?.backends).toEqual(one);
  expect(judge(meshOf(split(10, 90)), request).outcome).toMatchObject({
    route: "default/r",
    routeAt: "r.yaml:10:5",
    backends: ["default/two.default.svc.cluster.local:80"],
  });
});

test("where no draw was made chance is not guessed", () => {
  const request = record(before);
  expect(judge(meshOf(split(90, 10)), request).outcome?.backends).toEqual([
    "default/one.default.svc.cluster.local:80 (90%)",
    "default/two.default.svc.cluster.local:80 (10%)",
  ]);
  expect(judge(meshOf(split(0, 1)), request).outcome?.backends).toHaveLength(1);
  expect(judge(meshOf(split(0, 0)), request).outcome).toMatchObject({ status: 500 });
});

test("what else a rule does counts, and where it stands in its route does not", () => {
  const request = record(meshOf(split(1, 0)), { payload: isDrawn });
  const slower = judge(meshOf(split(1, 0, { requestTimeoutMs: 5 })), request).outcome;
  expect(slower?.handling).not.toBe(request.outcome?.handling);
  const moved = judge(meshOf(split(1, 0, { index: 3, name: "3" })), request).outcome;
  expect(moved?.handling).toBe(request.outcome?.handling);
  const redirect = { type: "RequestRedirect", statusCode: 302 } as const;
  const filters = [{ ...redirect, scheme: "https", hostname: undefined, path: undefined, port: 1 }];
  const away = judge(meshOf(split(1, 0, { filters })), request).outcome;
  expect(away).toMatchObject({ isAllowed: true, status: 302 });
});

const asking: AuthorizationPolicy = {
  ...allow("method", "GET", "default/ask"),
  action: "CUSTOM",
  provider: { name: "opa", service: "default/opa", problem: undefined },
};

test("an authorizer that was never asked: it cannot be said", () => {
  const request = record(before);
  const { cannotSay } = judge(meshOf(withPolicies(asking)), request);
  expect(cannotSay).toBe("provider opa would be asked, and its answer is not recorded");
  const answered = record(before, { facts: { providerAnswers: { opa: false } } });
  const { outcome } = judge(meshOf(withPolicies(asking)), answered);
  expect(outcome).toMatchObject({ isAllowed: false, policy: "default/ask" });
  const nobody = { ...asking, provider: { ...asking.provider!, service: undefined } };
  expect(judge(meshOf(withPolicies(nobody)), request).outcome?.isAllowed).toBe(false);
});

test("a secret that a rule wants to see: it cannot be said", () => {
  const policy = allow("header:x-api-key", "k1");
  const request = record(before, { facts: { headers: ["x-api-key", "k1"] } });
  expect(JSON.stringify(request)).not.toContain("k1");
  const { cannotSay } = judge(meshOf(withPolicies(policy)), request);
  expect(cannotSay).toBe("header x-api-key holds a secret, which is not recorded");
  // Without the header there is nothing to hide.
  expect(judge(meshOf(withPolicies(policy)), record(before)).outcome?.isAllowed).toBe(false);
});

const authentication = (audience: string, keysFrom?: string): RequestAuthentication => ({
  key: "default/jwt",
  rules: [
    {
      issuer: "me",
      audiences: [audience],
      jwks: keysFrom === undefined ? '{"keys":[]}' : undefined,
      ...(keysFrom !== undefined && { keysFrom }),
      fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
      fromParams: [],
      fromCookies: [],
      forwardOriginalToken: false,
      outputPayloadToHeader: "",
      outputClaimToHeaders: [],
      spaceDelimitedClaims: [],
    },
  ],
  source: { kind: "RequestAuthentication", namespace: "default", name: "jwt" },
  position: undefined,
});

const people = allow("requestPrincipal", "me/you", "default/people");
const withTokens = (one: RequestAuthentication | undefined, ...policies: AuthorizationPolicy[]) =>
  meshOf({
    ...withPolicies(...policies),
    ...(one !== undefined && { authentications: { [TARGET]: [one] } }),
  });
const jwt = { principal: "me/you", claims: { iss: "me", sub: "you" } };
const carried = { jwt, headers: ["authorization", "Bearer x.y.z"] };

test("what was verified stays verified while its rules do", () => {
  const request = record(withTokens(authentication("shop")), { facts: carried });
  const { outcome } = judge(withTokens(authentication("shop"), people), request);
  expect(outcome).toMatchObject({ isAllowed: true, policy: "default/people" });
  const uri = "keys https://issuer/keys";
  const fetched = authentication("shop", uri);
  const [rule] = fetched.rules;
  const keys = { ...fetched, rules: [{ ...rule!, jwks: '{"keys":[1]}' }] };
  const known = record(withTokens(keys), { facts: carried });
  expect(judge(withTokens(fetched, people), known).outcome?.isAllowed).toBe(true);
});

test("a token that would be judged anew: it cannot be said", () => {
  const request = record(withTokens(authentication("shop")), { facts: carried });
  const { cannotSay } = judge(withTokens(authentication("bank"), people), request);
  expect(cannotSay).toBe("its token would be judged anew, and tokens are not recorded");
  const without = record(withTokens(authentication("shop")));
  expect(judge(withTokens(authentication("bank"), people), without).outcome).toMatchObject({
    isAllowed: false,
    because: "noAllowMatched",
  });
  // Nobody verifies: there is no principal, whatever the token says.
  expect(judge(withTokens(undefined, people), request).outcome?.isAllowed).toBe(false);
});

test("a refused token stays refused while its rules do, and is nobody's business without", () => {
  const payload = { status: 401, refusal: "401 Jwt is expired" };
  const request = record(withTokens(authentication("shop")), { facts: carried, payload });
  expect(request.outcome).toEqual({
    isAllowed: false,
    because: "refused",
    reason: "Jwt is expired",
    status: 401,
  });
  const { outcome } = judge(withTokens(authentication("shop"), allow("method", "GET")), request);
  expect(outcome).toEqual(request.outcome);
  const gone = judge(withTokens(undefined), { ...request, facts: { ...request.facts } });
  expect(gone.outcome).toMatchObject({ isAllowed: true });
});

test("paths are normalised more, never less", () => {
  const request = record(before, { facts: { path: "/a//b" } });
  const policies = withPolicies(allow("path", "/a/b"));
  const settings = (pathNormalization: "NONE" | "MERGE_SLASHES") => ({
    settings: { pathNormalization },
  });
  const more = judge(meshOf({ ...policies, ...settings("MERGE_SLASHES") }), request);
  expect(more.outcome?.isAllowed).toBe(true);
  const less = judge(meshOf({ ...policies, ...settings("NONE") }), request);
  expect(less.cannotSay).toContain("normalised less");
});

test("a target that is gone, or bound elsewhere", () => {
  const request = record(before);
  expect(judge(meshOf({ services: [] }), request).outcome?.reason).toBe("the service is gone");
  const other = meshOf({}, { ...BOUND, waypoint: "default/other" });
  expect(judge(other, request).outcome).toMatchObject({ waypoint: "default/other" });
  const reason = "WaypointMissing" as const;
  const none = meshOf({}, { state: "unusable", waypoint: "default/none", reason });
  expect(judge(none, request).outcome).toMatchObject({
    isAllowed: false,
    reason: "waypoint default/none cannot be used: WaypointMissing",
  });
});

test("past the waypoint the workloads' ztunnels decide", () => {
  const ports = new Map([[9080, 9080]]);
  const endpoint = { workloadUid: WORKLOAD, address: "10.0.0.9", ports, isHealthy: true };
  const base = snapshotOf({ workloads: [workloadOf({})], services: [SERVICE_VALUE] });
  const straight = { ...base, endpoints: new Map([[SERVICE, [endpoint]]]) };
  expect(judge(straight, record(before)).outcome).toEqual({
    isAllowed: true,
    because: "noAllowPolicies",
    backends: [`${SERVICE}:9080`],
  });
});

test("connections are judged by their workload's ztunnel", () => {
  const { method: _, path: __, query: ___, authority: ____, headers: _____, ...facts } = FACTS;
  const connection: RecordedRequest = {
    ...record(before, { hop: L4_HOP }),
    facts: { ...facts },
  };
  expect(judge(before, connection).outcome?.isAllowed).toBe(true);
  expect(judge(meshOf({ workloads: [] }), connection).outcome?.reason).toBe("the workload is gone");
});

test("readRecordedRequest() says what is wrong, and where", () => {
  const request = record(before);
  expect(() => readRecordedRequest({ ...request, facts: {} })).toThrow("/facts");
  expect(() => readRecordedRequest({ ...request, hop: { proxy: "x" } })).toThrow("/hop");
  expect(() => readRecordedRequest(7)).toThrow();
});
