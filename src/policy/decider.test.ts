import { describe, expect, test } from "vitest";
import {
  connection,
  EMPTY_L4_MATCH,
  field,
  HTTP_HOP,
  L4_HOP,
  l4PolicyOf,
  PORT,
  policyOf,
  request,
  routeOf,
  SERVICE,
  SERVICE_VALUE,
  snapshotOf,
  WAYPOINT,
  WORKLOAD,
  WORKLOAD_HOP,
  workloadOf,
} from "../../test/policy/mesh.ts";
import type { HttpBackend, HttpMatch, HttpRoute } from "../model/route.ts";
import type { FieldMatch, Rule } from "../model/rule.ts";
import { decide } from "./decide.ts";
import { httpDecider, l4Decider } from "./decider.ts";
import { explain } from "./explain.ts";

const ON_SERVICE = `Service/${SERVICE}`;
const ON_GATEWAY = `Gateway/${WAYPOINT}`;

function rule(parts: Partial<Rule>): Rule {
  return { index: 0, from: [], to: [], when: [], position: undefined, ...parts };
}

const methods = (...values: string[]) => rule({ to: [[field("method", ...values)]] });

describe("authorize()", () => {
  test("combines the policies of class, Gateway and Service", () => {
    const snapshot = snapshotOf({
      policies: {
        "GatewayClass/istio-waypoint": [
          policyOf({ key: "istio-system/no-put", action: "DENY", rules: [methods("PUT")] }),
        ],
        [ON_GATEWAY]: [policyOf({ key: "default/posts", rules: [methods("POST")] })],
        [ON_SERVICE]: [policyOf({ key: "default/gets", rules: [methods("GET", "PUT")] })],
      },
    });
    const answer = (method: string) => decide(snapshot, HTTP_HOP, request({ method }), 0).verdict;
    expect(answer("GET")).toMatchObject({ isAllowed: true, policy: "default/gets", rule: 0 });
    expect(answer("POST")).toMatchObject({ isAllowed: true, policy: "default/posts" });
    expect(answer("PUT")).toMatchObject({ because: "denied", policy: "istio-system/no-put" });
    expect(answer("PATCH")).toMatchObject({ isAllowed: false, because: "noAllowMatched" });
    const direct = decide(snapshot, WORKLOAD_HOP, request({ method: "GET" }), 0);
    expect(direct.verdict.because).toBe("noAllowMatched");
  });

  test("allows when nothing applies; an ALLOW without rules denies; an empty rule matches", () => {
    const because = (rules: Rule[] | undefined, action: "ALLOW" | "DENY" = "ALLOW") => {
      const policies = rules ? [policyOf({ key: "default/p", action, rules })] : [];
      const snapshot = snapshotOf({ policies: { [ON_SERVICE]: policies } });
      return decide(snapshot, HTTP_HOP, request(), 0).verdict.because;
    };
    expect(because(undefined)).toBe("noAllowPolicies");
    expect(because([])).toBe("noAllowMatched");
    expect(because([rule({})])).toBe("allowed");
    expect(because([], "DENY")).toBe("noAllowPolicies");
    expect(because([rule({})], "DENY")).toBe("denied");
  });

  test("fails closed on values and fields that cannot be used", () => {
    const because = (action: "ALLOW" | "DENY" | "CUSTOM", unusable: FieldMatch) => {
      const rules = [rule({ from: [[unusable]] })];
      const policies = [policyOf({ key: "default/p", action, rules })];
      const snapshot = snapshotOf({ policies: { [ON_SERVICE]: policies } });
      return decide(snapshot, HTTP_HOP, request(), 0).verdict.because;
    };
    for (const name of ["unsupported:x", "unsupported:request.y"] as const) {
      expect(because("ALLOW", field(name, "*")), name).toBe("noAllowMatched");
      expect(because("DENY", field(name, "*")), name).toBe("denied");
      expect(because("CUSTOM", field(name, "*")), name).toBe("denied");
    }
    expect(because("ALLOW", field("sourceIp"))).toBe("noAllowMatched");
    expect(because("DENY", field("sourceIp"))).toBe("denied");
    const not = { ...field("sourceIp"), hasValues: false, hasNotValues: true };
    expect(because("ALLOW", not)).toBe("noAllowMatched");
    expect(because("DENY", not)).toBe("denied");
    const mistyped = field("port", "80");
    expect(because("ALLOW", mistyped)).toBe("noAllowMatched");
    expect(because("DENY", mistyped)).toBe("denied");
  });

  test("dry runs and audits decide nothing", () => {
    const rules = [rule({})];
    const snapshot = snapshotOf({
      policies: {
        [ON_SERVICE]: [
          policyOf({ key: "default/dry", action: "DENY", isDryRun: true, rules }),
          policyOf({ key: "default/dry-allow", isDryRun: true, rules: [] }),
          policyOf({ key: "default/audit", action: "AUDIT", rules }),
        ],
      },
    });
    expect(decide(snapshot, HTTP_HOP, request(), 0).verdict.because).toBe("noAllowPolicies");
  });

  test("hosts match without case and with their port only", () => {
    const policies = [
      policyOf({ key: "default/p", rules: [rule({ to: [[field("host", "A.test")]] })] }),
    ];
    const snapshot = snapshotOf({ policies: { [ON_SERVICE]: policies } });
    const isAllowed = (authority: string) =>
      decide(snapshot, HTTP_HOP, request({ authority }), 0).verdict.isAllowed;
    expect(isAllowed("a.TEST")).toBe(true);
    expect(isAllowed("a.test:80")).toBe(false);
  });

  test("pseudo headers can be asked for by name", () => {
    const rules = [rule({ when: [field("header::path", "/a?x=1")] })];
    const snapshot = snapshotOf({ policies: { [ON_SERVICE]: [policyOf({ key: "a/b", rules })] } });
    const isAllowed = (query: string) =>
      decide(snapshot, HTTP_HOP, request({ path: "/a", query }), 0).verdict.isAllowed;
    expect([isAllowed("x=1"), isAllowed("")]).toEqual([true, false]);
  });

  test("refuses what the snapshot does not know", () => {
    const snapshot = snapshotOf({ services: [], workloads: [] });
    for (const hop of [HTTP_HOP, WORKLOAD_HOP, L4_HOP]) {
      const decision = decide(snapshot, hop, request(), 0);
      expect(decision.verdict.isAllowed).toBe(false);
      expect(explain(snapshot, hop, request(), 0)).toMatchObject({ ...decision });
    }
  });
});

describe("authorizeTcp()", () => {
  const both = rule({ from: [[field("namespace", "default")]], to: [[field("method", "GET")]] });
  const because = (action: "ALLOW" | "DENY" | "CUSTOM", rules: Rule[]) => {
    const policies = [policyOf({ key: "default/p", action, rules })];
    const snapshot = snapshotOf({ policies: { [ON_SERVICE]: policies } });
    return decide(snapshot, HTTP_HOP, connection(), 0).verdict.because;
  };

  test("drops ALLOW rules with HTTP attributes", () => {
    expect(because("ALLOW", [both])).toBe("noAllowMatched");
    const either = rule({
      from: [[field("namespace", "default")], [field("requestPrincipal", "*")]],
    });
    expect(because("ALLOW", [either])).toBe("noAllowMatched");
    expect(because("ALLOW", [rule({ from: [[field("namespace", "default")]] })])).toBe("allowed");
  });

  test("judges DENY rules without them", () => {
    expect(because("DENY", [both])).toBe("denied");
    expect(because("DENY", [methods("PUT")])).toBe("denied");
    expect(because("DENY", [rule({ ...both, from: [[field("namespace", "x")]] })])).toBe(
      "noAllowPolicies",
    );
  });

  test("judges CUSTOM rules like DENY, when there is nobody to ask", () => {
    expect(because("CUSTOM", [methods("PUT")])).toBe("denied");
    expect(because("CUSTOM", [rule({})])).toBe("denied");
  });
});

describe("l4Decider()", () => {
  test("keeps the identity rules of plaintext", () => {
    const strict = l4PolicyOf({
      name: "strict",
      action: "DENY",
      rules: [
        {
          clauses: [[{ ...EMPTY_L4_MATCH, notPrincipals: [{ type: "presence" }] }]],
          position: undefined,
        },
      ],
    });
    const snapshot = snapshotOf({ l4Policies: [strict] });
    const isAllowed = (sourceIdentity: string | undefined) =>
      decide(snapshot, L4_HOP, connection({ sourceIdentity }), 0).verdict.isAllowed;
    expect(isAllowed(undefined)).toBe(false);
    expect(isAllowed("spiffe://td/ns/a/sa/b")).toBe(true);
  });

  test("is kept while what applies is unchanged, and made anew when it is not", () => {
    const allow = l4PolicyOf({ name: "all", rules: [{ clauses: [], position: undefined }] });
    const workload = workloadOf({ authorizationPolicies: ["default/named"] });
    const first = snapshotOf({ l4Policies: [allow], workloads: [workload] });
    const decider = l4Decider(first, workload);
    expect(decider.authorize(connection()).policy).toBe("default/all");
    const same = snapshotOf({ l4Policies: [allow], workloads: [workload] }, 2);
    expect(l4Decider(same, workload)).toBe(decider);
    const named = l4PolicyOf({
      name: "named",
      scope: "WORKLOAD_SELECTOR",
      action: "DENY",
      rules: [{ clauses: [], position: undefined }],
    });
    const changed = snapshotOf({ l4Policies: [allow, named], workloads: [workload] }, 3);
    expect(l4Decider(changed, workload)).not.toBe(decider);
    expect(l4Decider(changed, workload).authorize(connection()).policy).toBe("default/named");
  });
});

function backend(
  name: string,
  weight: number,
  service: string | undefined = `n/${name}`,
): HttpBackend {
  return {
    weight,
    service,
    port: 80,
    problem: service ? undefined : "BackendNotFound",
    position: undefined,
    filters: [],
  };
}

function path(value: string, parts: Partial<HttpMatch> = {}): HttpMatch {
  const match = { path: { type: "PathPrefix" as const, value }, headers: [], queryParams: [] };
  return { ...match, method: undefined, ...parts };
}

const exact = (value: string) => path("", { path: { type: "Exact", value } });

describe("chooseRoute()", () => {
  const choose = (own: HttpRoute[], shared: HttpRoute[], parts: Parameters<typeof request>[0]) => {
    const attach = (routes: HttpRoute[]) => routes.map((route) => ({ route, ports: [] }));
    const routes = { [ON_SERVICE]: attach(own), [ON_GATEWAY]: attach(shared) };
    const decision = decide(snapshotOf({ routes }), HTTP_HOP, request(parts), 0);
    return decision.route?.name;
  };

  test("prefers exact paths, then longer prefixes, then the rest in order", () => {
    const route = routeOf("r", [
      { matches: [path("/")] },
      { matches: [path("/api/")] },
      { matches: [exact("/api")] },
      { matches: [path("/api", { method: "POST" })] },
      { matches: [path("", { path: { type: "RegularExpression", value: "/api/.*" } })] },
    ]);
    expect(choose([route], [], { path: "/api" })).toBe("default.r.2");
    expect(choose([route], [], { path: "/api/x" })).toBe("default.r.1");
    expect(choose([route], [], { path: "/api/x", method: "POST" })).toBe("default.r.3");
    expect(choose([route], [], { path: "/apix" })).toBe("default.r.0");
    expect(choose([route], [], { path: "*" })).toBeUndefined();
  });

  test("breaks ties by age, then by name", () => {
    const rules = [{ matches: [path("/")] }];
    const old = routeOf("z", rules, { createdMs: 1 });
    const young = routeOf("a", rules, { createdMs: 2 });
    expect(choose([young, old], [], {})).toBe("default.z.0");
    expect(choose([routeOf("b", rules), routeOf("a", rules)], [], {})).toBe("default.a.0");
  });

  test("a Service with a route ignores the Gateway's, be it for another port", () => {
    const shared = routeOf("shared", [{ matches: [path("/")] }]);
    const own = routeOf("own", [{ matches: [exact("/only")] }]);
    expect(choose([], [shared], {})).toBe("default.shared.0");
    expect(choose([own], [shared], {})).toBeUndefined();
    const routes = {
      [ON_SERVICE]: [{ route: own, ports: [PORT + 1] }],
      [ON_GATEWAY]: [{ route: shared, ports: [] }],
    };
    expect(decide(snapshotOf({ routes }), HTTP_HOP, request(), 0).route?.name).toBe("default");
  });

  test("enforces host names on the Gateway's routes only, the most specific first", () => {
    const rules = [{ matches: [path("/")] }];
    const any = routeOf("any", rules, { hostnames: ["*.test"] });
    const one = routeOf("one", rules, { hostnames: ["a.test"], createdMs: 9 });
    expect(choose([], [any, one], { authority: "A.test:80" })).toBe("default.one.0");
    expect(choose([], [any, one], { authority: "b.test" })).toBe("default.any.0");
    expect(choose([], [any, one], { authority: "reviews" })).toBe("default");
    expect(choose([one], [], { authority: "reviews" })).toBe("default.one.0");
  });

  test("drops a rule whose expression is not RE2, whole", () => {
    const bad = path("", { path: { type: "RegularExpression", value: "(" } });
    const route = routeOf("r", [{ matches: [path("/"), bad] }]);
    expect(choose([route], [], {})).toBeUndefined();
  });

  test("leaves traffic to a workload alone", () => {
    const routes = {
      [ON_GATEWAY]: [{ route: routeOf("r", [{ matches: [path("/")] }]), ports: [] }],
    };
    const decision = decide(snapshotOf({ routes }), WORKLOAD_HOP, request(), 0);
    expect(decision).toMatchObject({ status: undefined, backend: undefined });
    expect(decision.route?.name).toBe("default");
  });
});

describe("chooseBackend()", () => {
  const decideWith = (backends: HttpBackend[], draw: number) => {
    const route = routeOf("r", [{ matches: [path("/")], backends }]);
    const routes = { [ON_SERVICE]: [{ route, ports: [] }] };
    return decide(snapshotOf({ routes }), HTTP_HOP, request(), draw);
  };

  test("picks by weight", () => {
    const backends = [backend("a", 90), backend("none", 0), backend("b", 10)];
    const counts = new Map<string, number>();
    for (let i = 0; i < 1_000; i++) {
      const service = decideWith(backends, i / 1_000).backend!.service!;
      counts.set(service, (counts.get(service) ?? 0) + 1);
    }
    expect(Object.fromEntries(counts)).toEqual({ "n/a": 900, "n/b": 100 });
    expect(decideWith(backends, 1 - Number.EPSILON / 2).backend?.service).toBe("n/b");
  });

  test("answers 500 for invalid backends and for none", () => {
    const invalid = { ...backend("x", 1), service: undefined };
    expect(decideWith([invalid], 0.5)).toMatchObject({ status: 500, backend: invalid });
    expect(decideWith([], 0.5)).toMatchObject({ status: 500, backend: undefined });
    expect(decideWith([backend("a", 0)], 0)).toMatchObject({ status: 500, backend: undefined });
    expect(decideWith([invalid, backend("a", 1)], 0.5).status).toBeUndefined();
  });
});

describe("httpDecider()", () => {
  test("is kept over snapshots while what it depends on is unchanged", () => {
    const policies = { [ON_SERVICE]: [policyOf({ key: "default/p", rules: [methods("GET")] })] };
    const routes = {
      [ON_SERVICE]: [{ route: routeOf("r", [{ matches: [path("/")] }]), ports: [] }],
    };
    const first = snapshotOf({ policies, routes });
    const get = (snapshot: typeof first, port = PORT) =>
      httpDecider(snapshot, WAYPOINT, { service: SERVICE }, port);
    const decider = get(first);
    const { settings } = first;
    const next = (parts: Parameters<typeof snapshotOf>[0]) =>
      ({ ...snapshotOf({ policies, routes, ...parts }), settings }) as typeof first;
    expect(get(next({}))).toBe(decider);
    expect(get(first, PORT + 1)).not.toBe(decider);
    const other = next({ policies: {} });
    expect(get(other)).not.toBe(decider);
    expect(get(other).authorize(request({ method: "PUT" })).isAllowed).toBe(true);
    expect(get(next({ routes: {} })).chooseRoute(request())?.name).toBe("default");
    // The choice itself survives a change that does not concern routes.
    expect(get(other).chooseRoute(request())).toBe(decider.chooseRoute(request()));
  });

  test("finds its way among 10,000 routes as fast as among ten", () => {
    const perRequestNs = (count: number) => {
      const rules = Array.from({ length: count }, (_, i) => ({
        matches: [path(`/service-${i}/api`), exact(`/exact-${i}`)],
        backends: [backend("a", 1)],
      }));
      const routes = { [ON_SERVICE]: [{ route: routeOf("r", rules), ports: [] }] };
      const decider = httpDecider(snapshotOf({ routes }), WAYPOINT, { service: SERVICE }, PORT);
      const facts = request({ path: `/service-${count - 1}/api/x` });
      let best = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 15; round++) {
        const started = process.hrtime.bigint();
        for (let i = 0; i < 2_000; i++) decider.chooseRoute(facts);
        best = Math.min(best, Number(process.hrtime.bigint() - started) / 2_000);
      }
      expect(decider.chooseRoute(facts)?.name).toBe(`default.r.${count - 1}`);
      return best;
    };
    expect(perRequestNs(10_000)).toBeLessThan(10 * perRequestNs(10) + 1_000);
  });

  test("allocates next to nothing while judging", () => {
    const policies = {
      [ON_SERVICE]: [
        policyOf({ key: "default/d", action: "DENY", rules: [methods("PUT")] }),
        policyOf({
          key: "default/a",
          rules: [
            rule({ from: [[field("namespace", "x")]] }),
            rule({ from: [[field("namespace", "default")]], to: [[field("host", "reviews")]] }),
          ],
        }),
      ],
    };
    const match = path("/", { headers: [{ type: "Exact", name: "x", value: "1" }] });
    const routes = {
      [ON_SERVICE]: [{ route: routeOf("r", [{ matches: [match, path("/")] }]), ports: [] }],
    };
    const decider = httpDecider(
      snapshotOf({ policies, routes }),
      WAYPOINT,
      { service: SERVICE },
      PORT,
    );
    const facts = request();
    const judge = (times: number) => {
      for (let i = 0; i < times; i++) {
        decider.authorize(facts);
        decider.chooseRoute(facts);
      }
    };
    judge(20_000);
    const before = process.memoryUsage().heapUsed;
    judge(100_000);
    const bytes = (process.memoryUsage().heapUsed - before) / 100_000;
    expect(decider.authorize(facts).isAllowed).toBe(true);
    expect(bytes).toBeLessThan(16);
  });
});

test("explain() names attached targets and keeps services that share a policy apart", () => {
  const shared = policyOf({ key: "default/p", rules: [methods("GET")] });
  const snapshot = snapshotOf({
    policies: { [ON_GATEWAY]: [shared], [ON_SERVICE]: [shared] },
    services: [SERVICE_VALUE],
  });
  const { trace } = explain(snapshot, HTTP_HOP, request(), 0);
  expect(trace.policies.map(({ policy, attachedTo }) => [policy, attachedTo])).toEqual([
    ["default/p", ON_GATEWAY],
  ]);
  expect(
    explain(snapshot, { ...L4_HOP, workload: WORKLOAD } as never, connection(), 0),
  ).toMatchObject({
    verdict: { isAllowed: true },
  });
});
