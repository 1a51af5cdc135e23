/**
 * The policy engine against Istio's own authorization tests in their waypoint form: the set
 * authz-integration of the folder that WAYSTONE_CONFORMANCE names. No proxy takes part: the facts
 * are those that a waypoint would have.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { AuthorizationProvider } from "../../src/model/authorization-provider.ts";
import type { AuthorizationPolicy } from "../../src/model/rule.ts";
import { decide } from "../../src/policy/decide.ts";
import { explain } from "../../src/policy/explain.ts";
import type { ConnectionFacts, Hop, HttpFacts } from "../../src/policy/facts.ts";
import { readProviders } from "../../src/translate/authorization-providers.ts";
import { connection, request, SERVICE_VALUE, snapshotOf, WAYPOINT } from "../policy/mesh.ts";
import { asking, parsePolicies } from "./policy-parse.ts";

const ROOT = join(process.env.WAYSTONE_CONFORMANCE ?? "", "authz-integration");
const isThere = process.env.WAYSTONE_CONFORMANCE !== undefined && existsSync(ROOT);
if (!isThere)
  process.stderr.write("policy-integration: skipped, WAYSTONE_CONFORMANCE is not set\n");

interface Client {
  namespace: string;
  app: string;
  identity?: string;
}

interface IntegrationCase {
  name: string;
  from: Client & { waypointForm?: Client };
  to: Client;
  request: {
    protocol: "http" | "grpc" | "tcp";
    connect: { host: string; port: number };
    authority?: string;
    method?: string;
    path?: string;
    headers?: Record<string, string>;
    grpcMethod?: string;
  };
  expect: { allowed?: true; denied?: true };
  notForWaypoint?: unknown;
}

interface IntegrationSet {
  cases: IntegrationCase[];
  meshConfig?: { extensionProviders?: unknown };
}

/** What cannot be judged yet, by the name of the test or the case. */
const SKIPPED: [RegExp, string][] = [
  [/^TestRequestAuthentication|^TestAuthz_JWT/, "JWT is not verified yet"],
  [/\/source-trust-domain|^TestAuthz_TrustDomain/, "trust domains are not a field yet"],
];

/** Made up, one for each name. */
const ADDRESSES: Record<string, string> = {
  "podIP:a.test-ns1": "10.1.0.1",
  "podIP:a.test-ns2": "10.2.0.1",
  "podIP:b.test-ns1": "10.1.0.2",
  "serviceIP:b.test-ns1": "10.96.1.2",
};

const fillIn = (text: string) =>
  text.replace(
    /\{((?:podIP|serviceIP):[^}]+)\}/g,
    (whole, name: string) => ADDRESSES[name] ?? whole,
  );

const serviceName = (namespace: string, name: string) =>
  `${namespace}/${name}.${namespace}.svc.cluster.local`;

/** By the target that each policy names. */
function policiesByTarget(
  yaml: string,
  providers: readonly AuthorizationProvider[],
): Record<string, AuthorizationPolicy[]> {
  const documents = parseAllDocuments(yaml).map((document) => document.toJS());
  const wanted = documents.filter((document) => document?.kind === "AuthorizationPolicy");
  const byTarget: Record<string, AuthorizationPolicy[]> = {};
  for (const document of wanted) {
    const [policy] = parsePolicies(JSON.stringify(document));
    const { namespace } = document.metadata;
    for (const { kind, name } of document.spec.targetRefs ?? []) {
      const target = {
        Service: `Service/${serviceName(namespace, name)}`,
        Gateway: `Gateway/${namespace}/${name}`,
        GatewayClass: `GatewayClass/${name}`,
      }[kind as "Service" | "Gateway" | "GatewayClass"];
      byTarget[target] = [...(byTarget[target] ?? []), asking(policy!, providers)];
    }
  }
  return byTarget;
}

function factsOf(one: IntegrationCase): ConnectionFacts | HttpFacts {
  const { connect, protocol, grpcMethod, headers = {} } = one.request;
  const from = one.from.waypointForm ?? one.from;
  const facts = connection({
    sourceIdentity: from.identity,
    sourceAddress: ADDRESSES[`podIP:${from.app}.${from.namespace}`] ?? "10.9.9.9",
    destinationAddress: ADDRESSES[`serviceIP:${one.to.app}.${one.to.namespace}`] ?? "10.96.9.9",
    destinationPort: connect.port,
  });
  if (protocol === "tcp") return facts;
  const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
  const [path = "", query = ""] = (one.request.path ?? `/${grpcMethod ?? ""}`).split("?");
  return request({
    ...facts,
    method: protocol === "grpc" ? "POST" : (one.request.method ?? "GET"),
    path,
    query,
    authority: one.request.authority ?? `${connect.host}:${connect.port}`,
    headers: Object.fromEntries(lower),
  });
}

describe.skipIf(!isThere)("authz-integration, waypoint form", () => {
  const skipped = new Map<string, number>();
  let judged = 0;
  afterAll(() => {
    process.stderr.write(`policy-integration: ${judged} cases judged\n`);
    for (const [why, count] of skipped) process.stderr.write(`  ${count} skipped: ${why}\n`);
    expect(judged).toBeGreaterThan(200);
  });

  for (const set of isThere ? readdirSync(ROOT) : []) {
    const file = join(ROOT, set, "cases.json");
    if (!existsSync(file)) continue;
    const { cases, meshConfig } = JSON.parse(readFileSync(file, "utf8")) as IntegrationSet;
    const { providers } = readProviders(meshConfig?.extensionProviders ?? [])!;
    test(set, () => {
      const yaml = fillIn(readFileSync(join(ROOT, set, "manifest-waypoint.yaml"), "utf8"));
      const policies = policiesByTarget(yaml, providers);
      for (const one of cases) {
        const why = one.notForWaypoint
          ? "it has no waypoint form"
          : SKIPPED.find(([pattern]) => pattern.test(`${set} ${one.name}`))?.[1];
        if (why) {
          skipped.set(why, (skipped.get(why) ?? 0) + 1);
          continue;
        }
        const key = serviceName(one.to.namespace, one.to.app);
        const snapshot = inNamespace(one.to.namespace, policies, key);
        const waypoint = `${one.to.namespace}/waypoint`;
        const hop: Hop = {
          proxy: "waypoint",
          waypoint,
          service: key,
          port: one.request.connect.port,
        };
        const facts = { ...factsOf(one), providerAnswers: answersTo(one, providers) };
        const { verdict } = decide(snapshot, hop, facts, 0);
        expect(verdict.isAllowed, `${one.name}: ${verdict.policy}`).toBe(
          one.expect.allowed === true,
        );
        expect(explain(snapshot, hop, facts, 0).verdict).toEqual(verdict);
        judged++;
      }
    });
  }
});

/** Istio's sample authorizer does what the request asks it to; connections it lets pass. */
function answersTo({ request }: IntegrationCase, providers: readonly AuthorizationProvider[]) {
  const isAllowed = request.protocol === "tcp" || request.headers?.["X-Ext-Authz"] === "allow";
  return Object.fromEntries(providers.map(({ name }) => [name, isAllowed]));
}

function inNamespace(
  namespace: string,
  policies: Record<string, AuthorizationPolicy[]>,
  key: string,
) {
  const snapshot = snapshotOf({ policies, services: [{ ...SERVICE_VALUE, key }] });
  const waypoint = snapshot.waypoints.get(WAYPOINT)!;
  return { ...snapshot, waypoints: new Map([[`${namespace}/waypoint`, waypoint]]) };
}
