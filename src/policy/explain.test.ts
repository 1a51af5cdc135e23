import { describe, expect, test } from "vitest";
import {
  connection,
  EMPTY_L4_MATCH,
  HTTP_HOP,
  L4_HOP,
  l4PolicyOf,
  policyOf,
  type RequestParts,
  request,
  routeOf,
  SERVICE,
  snapshotOf,
  WORKLOAD_HOP,
} from "../../test/policy/mesh.ts";
import type { AttachedRoute, HttpBackend, HttpMatch, RouteFilter } from "../model/route.ts";
import type { AuthorizationPolicy, FieldMatch, Rule } from "../model/rule.ts";
import { decide } from "./decide.ts";
import { explain } from "./explain.ts";
import { renderDecision } from "./render.ts";

const at = (line: number) => ({ file: "policy.yaml", line, column: 7 });

function field(name: FieldMatch["field"], values: string[], line = 20): FieldMatch {
  return {
    field: name,
    values: values.map((text) => ({ type: "string", match: { type: "exact", value: text }, text })),
    notValues: [],
    hasValues: true,
    hasNotValues: false,
    path: `to[0].operation.${name}s`,
    position: at(line),
  };
}

function rule(index: number, parts: Partial<Rule>): Rule {
  return { index, from: [], to: [], when: [], position: at(12 + index), ...parts };
}

const viewOnly = policyOf({
  key: "default/view-only",
  rules: [
    rule(0, { to: [[field("method", ["GET"])]] }),
    rule(1, { from: [[field("principal", ["td/ns/a/sa/b"])], [field("namespace", ["admin"])]] }),
  ],
});

function rendered(
  policies: readonly AuthorizationPolicy[],
  parts: RequestParts = {},
  routes: Parameters<typeof snapshotOf>[0]["routes"] = {},
  draw = 0,
): string[] {
  const snapshot = snapshotOf({ policies: { [`Service/${SERVICE}`]: policies }, routes });
  return renderDecision(explain(snapshot, HTTP_HOP, request(parts), draw)).split("\n");
}

describe("renderDecision()", () => {
  test("says of a default deny what failed first in each ALLOW rule", () => {
    expect(rendered([viewOnly], { method: "POST" })).toEqual([
      "DENIED 403 by default: no ALLOW policy matched",
      "  default/view-only rule 0 (policy.yaml:12:7): method: wanted GET, saw POST",
      "  default/view-only rule 1 (policy.yaml:13:7): none of 2 alternatives in from: " +
        "principal: wanted td/ns/a/sa/b, saw cluster.local/ns/default/sa/client; " +
        "namespace: wanted admin, saw default",
    ]);
    expect(rendered([policyOf({ key: "default/nothing" })])).toEqual([
      "DENIED 403 by default: no ALLOW policy matched",
      "  default/nothing (nothing.yaml:1:1): it has no rules, so it never matches",
    ]);
  });

  test("names what denied, and what of it held", () => {
    const deny = policyOf({
      key: "default/no-posts",
      action: "DENY",
      rules: [rule(0, { to: [[field("method", ["POST"]), field("path", ["/a"], 21)]] })],
    });
    expect(rendered([viewOnly, deny], { method: "POST", path: "/a" })).toEqual([
      "DENIED 403 by DENY policy default/no-posts rule 0 (policy.yaml:12:7)",
      "  method: wanted POST, saw POST (policy.yaml:20:7)",
      "  path: wanted /a, saw /a (policy.yaml:21:7)",
    ]);
  });

  test("names the allowing rule, the default route, and dry runs beside", () => {
    const dry = policyOf({
      key: "default/dry",
      action: "DENY",
      isDryRun: true,
      rules: [rule(0, {})],
    });
    expect(rendered([viewOnly, dry])).toEqual([
      "ALLOWED by default/view-only rule 0 (policy.yaml:12:7)",
      "  method: wanted GET, saw GET (policy.yaml:20:7)",
      "  dry run, would DENY: default/dry rule 0 (dry.yaml:1:1)",
      "ROUTE default → reviews:9080",
    ]);
  });

  test("says whom CUSTOM asks, and which fields cannot be evaluated", () => {
    const custom = policyOf({ key: "default/ask", action: "CUSTOM", rules: [rule(0, {})] });
    expect(rendered([custom])).toEqual([
      "DENIED 403 by CUSTOM policy default/ask rule 0 (policy.yaml:12:7)",
      "  the rule asks for nothing, so it always matches",
      "  no provider is named: what its rules match is denied",
    ]);
    const service = "default/opa.default.svc.cluster.local";
    const provider = { name: "opa", service, problem: undefined };
    expect(rendered([{ ...custom, provider }]).slice(0, 2)).toEqual([
      "ALLOWED: no ALLOW policy applies, and no other denies",
      "  default/ask: provider opa would be asked; taken as if it let this pass",
    ]);
    const providerAnswers = { opa: false };
    expect(rendered([{ ...custom, provider }], { providerAnswers }).slice(0, 2)).toEqual([
      "DENIED 403 by CUSTOM policy default/ask rule 0 (policy.yaml:12:7)",
      "  default/ask: provider opa refuses",
    ]);
    const claims = rule(0, { when: [field("unsupported:request.auth.claims[a]", ["x"])] });
    expect(rendered([policyOf({ key: "default/jwt", rules: [claims] })])[1]).toBe(
      "  default/jwt rule 0 (policy.yaml:12:7): request.auth.claims[a]: wanted x, " +
        "this version cannot evaluate it: it never matches",
    );
  });

  test("never shows secrets", () => {
    const names = ["authorization", "cookie", "x-api-key", "x-auth-token", "x-plain"] as const;
    const fields = names.map((name) => field(`header:${name}`, ["wanted"]));
    const headers = Object.fromEntries(names.map((name) => [name, `s3cr3t-${name}`]));
    const policies = fields.map((one, i) =>
      policyOf({ key: `default/p${i}`, rules: [rule(0, { when: [one] })] }),
    );
    const snapshot = snapshotOf({ policies: { [`Service/${SERVICE}`]: policies } });
    const decision = explain(snapshot, HTTP_HOP, request({ headers, query: "token=s3cr3t" }), 0);
    const text = JSON.stringify(decision.trace) + renderDecision(decision);
    expect([...new Set(text.match(/s3cr3t[\w-]*/g))]).toEqual(["s3cr3t-x-plain"]);
    const bearer = explain(
      snapshot,
      HTTP_HOP,
      request({ headers: { "x-plain": "Bearer s3cr3t" } }),
      0,
    );
    expect(JSON.stringify(bearer.trace)).not.toContain("s3cr3t");
  });
});

const backends: HttpBackend[] = [
  {
    weight: 90,
    service: "default/reviews-v1.default.svc.cluster.local",
    port: 9080,
    problem: undefined,
    position: at(31),
    filters: [],
  },
  {
    weight: 10,
    service: undefined,
    port: 9080,
    problem: "BackendNotFound",
    position: at(32),
    filters: [],
  },
];

function match(value: string, parts: Partial<HttpMatch> = {}): HttpMatch {
  return {
    path: { type: "PathPrefix", value },
    headers: [],
    queryParams: [],
    method: undefined,
    ...parts,
  };
}

describe("renderDecision() of routes", () => {
  const route = routeOf("reviews", [
    { matches: [match("/api", { headers: [{ type: "Exact", name: "x-user", value: "me" }] })] },
    { matches: [match("/api")], backends },
  ]);
  const routes = { [`Service/${SERVICE}`]: [{ route, ports: [] }] };

  test("names the rule, the backend and its share, and what was passed over", () => {
    expect(rendered([], { path: "/api/x" }, routes, 0.5)).toEqual([
      "ALLOWED: no ALLOW policy applies, and no other denies",
      "ROUTE by HTTPRoute default/reviews rule 1 (policy.yaml:31:7) → reviews-v1:9080 (weight 90 of 100)",
      "  not default/reviews rule 0 (reviews.yaml:10:5): header x-user: wanted me (Exact), saw none",
    ]);
    expect(rendered([], { path: "/api/x" }, routes, 0.95)[1]).toBe(
      "ROUTE by HTTPRoute default/reviews rule 1 (policy.yaml:32:7) → 500: BackendNotFound (weight 10 of 100)",
    );
  });

  test("says why nothing matched", () => {
    expect(rendered([], { path: "/apis" }, routes)).toEqual([
      "ALLOWED: no ALLOW policy applies, and no other denies",
      "ROUTE none of 2 matches: 404",
      "  not default/reviews rule 0 (reviews.yaml:10:5): path: wanted /api (PathPrefix), saw /apis",
      "  not default/reviews rule 1 (reviews.yaml:11:5): path: wanted /api (PathPrefix), saw /apis",
    ]);
  });

  test("mentions rules that are left out", () => {
    const bad = match("", { path: { type: "RegularExpression", value: "(" } });
    const one = { route: routeOf("bad", [{ matches: [bad] }]), ports: [] };
    const text = rendered([], {}, { [`Service/${SERVICE}`]: [one, { ...one, ports: [1] }] });
    expect(text.slice(1)).toEqual([
      "ROUTE none of 0 matches: 404",
      "  passed over: HTTPRoute default/bad (bad.yaml:1:1): it is for port 1, not 9080",
      "  default/bad rule 0 is left out: an expression in it is not RE2",
    ]);
  });
});

describe("renderDecision() of what a rule does", () => {
  const redirect: RouteFilter = {
    type: "RequestRedirect",
    scheme: "https",
    hostname: undefined,
    port: undefined,
    path: { type: "ReplaceFullPath", value: "/new" },
    statusCode: 301,
  };
  const mirror: RouteFilter = { type: "RequestMirror", backend: backends[0]!, share: 0.1 };

  test("tells filters, times and retries, and other matches", () => {
    const rule = {
      matches: [match("/api")],
      backends: [backends[0]!],
      filters: [mirror],
      requestTimeoutMs: 500,
      retry: { attempts: 2, codes: [503], grpcCodes: [], backoffMs: undefined },
    };
    const route = routeOf("reviews", [{ matches: [match("/")], backends }, rule]);
    const text = rendered([], { path: "/api" }, { [`Service/${SERVICE}`]: [{ route, ports: [] }] });
    expect(text.slice(1)).toEqual([
      "ROUTE by HTTPRoute default/reviews rule 1 (policy.yaml:31:7) → reviews-v1:9080 (weight 90 of 90)",
      "  RequestMirror: 10 % to reviews-v1:9080",
      "  timeouts.request: 500 ms",
      "  retry: 2 attempts; codes 503",
      "  passed over: HTTPRoute default/reviews rule 0 (reviews.yaml:10:5): it matches, too, but " +
        "default/reviews rule 1 has the longer path prefix",
    ]);
  });

  test("tells what a rule answers itself", () => {
    const route = routeOf("moved", [{ filters: [redirect], backends: [] }]);
    const text = rendered([], {}, { [`Service/${SERVICE}`]: [{ route, ports: [] }] });
    expect(text.slice(1)).toEqual([
      "ROUTE by HTTPRoute default/moved rule 0 (moved.yaml:10:5) → 301",
      '  RequestRedirect: 301, scheme https, ReplaceFullPath "/new"',
    ]);
  });
});

describe("explain() of connections", () => {
  const named = (name: string, hostnames: readonly string[], createdMs = 0): AttachedRoute => {
    const [rule] = routeOf(name, [{ backends: [backends[0]!] }]).rules;
    const route = { ...routeOf(name, []), kind: "TLSRoute" as const, hostnames, createdMs };
    return { route: { ...route, rules: [rule!] }, ports: [] };
  };
  const routes = { [`Service/${SERVICE}`]: [named("any", []), named("b", ["b.example"])] };
  const text = (serverName?: string) => {
    const facts = { ...connection(), serverName };
    const one = explain(snapshotOf({ routes }), HTTP_HOP, facts, 0);
    expect(one.route?.name).toBe(decide(snapshotOf({ routes }), HTTP_HOP, facts, 0).route?.name);
    return renderDecision(one).split("\n").slice(1);
  };

  test("follows the server name", () => {
    expect(text("b.example")).toEqual([
      "ROUTE by TLSRoute default/b rule 0 (policy.yaml:31:7) → reviews-v1:9080 (weight 90 of 90)",
      "  passed over: TLSRoute default/any (any.yaml:1:1): default/b names the server more closely",
    ]);
    expect(text("c.example")).toEqual([
      "ROUTE by TLSRoute default/any rule 0 (policy.yaml:31:7) → reviews-v1:9080 (weight 90 of 90)",
      "  passed over: TLSRoute default/b (b.yaml:1:1): it is for server name b.example, saw c.example",
    ]);
    expect(text()).toHaveLength(2);
  });
});

test("explain() at a ztunnel says which match of a clause failed", () => {
  const onlyWaypoint = l4PolicyOf({
    name: "only-waypoint",
    action: "DENY",
    because: "only waypoint default/waypoint may reach port 9080",
    rules: [
      {
        clauses: [
          [
            {
              ...EMPTY_L4_MATCH,
              notPrincipals: [{ type: "exact", value: "cluster.local/ns/default/sa/waypoint" }],
              destinationPorts: [9080],
            },
          ],
        ],
        position: at(3),
      },
    ],
  });
  const snapshot = snapshotOf({ l4Policies: [onlyWaypoint] });
  const text = renderDecision(explain(snapshot, L4_HOP, connection(), 0));
  expect(text.split("\n")).toEqual([
    "DENIED by DENY policy default/only-waypoint rule 0 (policy.yaml:3:7)",
    "  principal: not cluster.local/ns/default/sa/waypoint, saw cluster.local/ns/default/sa/client (policy.yaml:3:7)",
    "  port: wanted 9080, saw 9080 (policy.yaml:3:7)",
    "  only waypoint default/waypoint may reach port 9080",
  ]);
});

test("explain() of traffic to a workload names the workload itself", () => {
  const text = renderDecision(explain(snapshotOf({}), WORKLOAD_HOP, request(), 0));
  expect(text).toContain("ROUTE default → the workload addressed");
  const unknown = explain(snapshotOf({ workloads: [] }), WORKLOAD_HOP, request(), 0);
  expect(renderDecision(unknown)).toMatch(/^DENIED 403\n {2}workload .* is not known here/);
});
