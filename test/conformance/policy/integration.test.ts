/**
 * The policy engine against Istio's own authorization tests in their waypoint form: the set
 * authz-integration of the folder that WAYSTONE_CONFORMANCE names. No proxy takes part: the facts
 * are those that a waypoint would have.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { AuthorizationProvider } from "../../../src/model/authorization-provider.ts";
import type { RequestAuthentication } from "../../../src/model/request-authentication.ts";
import type { AuthorizationPolicy } from "../../../src/model/rule.ts";
import { DEFAULT_SETTINGS } from "../../../src/model/settings.ts";
import { decide } from "../../../src/policy/decide.ts";
import { httpDecider } from "../../../src/policy/decider.ts";
import { explain } from "../../../src/policy/explain.ts";
import {
  type ConnectionFacts,
  type Hop,
  type HttpFacts,
  isHttp,
} from "../../../src/policy/facts.ts";
import type { Authentication } from "../../../src/policy/jwt/authenticator.ts";
import { readProviders } from "../../../src/translate/authorization-providers.ts";
import { translateRequestAuthentication } from "../../../src/translate/request-authentications.ts";
import {
  connection,
  type MeshParts,
  request,
  SERVICE_VALUE,
  snapshotOf,
  WAYPOINT,
} from "../../policy/mesh.ts";
import { asking, parsePolicies } from "./parse.ts";

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
  expect: {
    allowed?: true;
    denied?: true;
    statusCodes?: number[];
    backendRequest?: { headers?: Record<string, string>; absentHeaders?: string[] };
  };
  notForWaypoint?: unknown;
}

interface IntegrationSet {
  cases: IntegrationCase[];
  meshConfig?: { extensionProviders?: unknown };
}

/** What cannot be judged yet, by the name of the test or the case. */
const SKIPPED: [RegExp, string][] = [];

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
      const authentications = authenticationsByTarget(yaml);
      for (const one of cases) {
        const why = one.notForWaypoint
          ? "it has no waypoint form"
          : SKIPPED.find(([pattern]) => pattern.test(`${set} ${one.name}`))?.[1];
        if (why) {
          skipped.set(why, (skipped.get(why) ?? 0) + 1);
          continue;
        }
        const key = serviceName(one.to.namespace, one.to.app);
        const snapshot = inNamespace(one.to.namespace, { policies, authentications }, key);
        const waypoint = `${one.to.namespace}/waypoint`;
        const hop: Hop = {
          proxy: "waypoint",
          waypoint,
          service: key,
          port: one.request.connect.port,
        };
        const asked = { ...factsOf(one), providerAnswers: answersTo(one, providers) };
        const decider = httpDecider(snapshot, waypoint, hop, hop.port);
        const tokens = isHttp(asked)
          ? decider.authenticator?.authenticate(asked, Date.now())
          : undefined;
        if (tokens?.isPassed === false) {
          expect(one.expect.allowed, `${one.name}: ${tokens.reason}`).toBeUndefined();
          expect(one.expect.statusCodes, one.name).toContain(tokens.status);
          judged++;
          continue;
        }
        checkForwarded(one, tokens);
        const facts = { ...asked, jwt: tokens?.jwt };
        const { verdict } = decide(snapshot, hop, facts, 0);
        if (!verdict.isAllowed) {
          expect(one.expect.statusCodes ?? [403], one.name).toContain(403);
        }
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

/** What of the tokens and claims reaches the backend. */
function checkForwarded(
  { name, expect: wanted, request }: IntegrationCase,
  tokens?: Authentication,
) {
  if (wanted.allowed !== true || !tokens?.isPassed) return;
  const sent = Object.fromEntries(
    Object.entries(request.headers ?? {}).map(([key, value]) => [key.toLowerCase(), value]),
  );
  for (const header of tokens.removedHeaders) delete sent[header];
  for (const [header, value] of tokens.setHeaders) sent[header] = value;
  for (const header of wanted.backendRequest?.absentHeaders ?? []) {
    expect(sent[header.toLowerCase()], `${name}: ${header}`).toBeUndefined();
  }
  for (const [header, value] of Object.entries(wanted.backendRequest?.headers ?? {})) {
    expect(sent[header.toLowerCase()], `${name}: ${header}`).toBe(value);
  }
}

/** Nobody fetches keys here: what has only a URI has none. */
function authenticationsByTarget(yaml: string): Record<string, RequestAuthentication[]> {
  const byTarget: Record<string, RequestAuthentication[]> = {};
  for (const document of parseAllDocuments(yaml).map((one) => one.toJS())) {
    if (document?.kind !== "RequestAuthentication") continue;
    const kind = "RequestAuthentication" as const;
    const object = { kind, value: document, position: NOWHERE, positionOf: () => NOWHERE };
    const near = { ...NOTHING_NEAR, settings: DEFAULT_SETTINGS };
    const { facts } = translateRequestAuthentication(object as never, near as never);
    for (const target of facts?.targets ?? []) {
      byTarget[target] = [...(byTarget[target] ?? []), facts!.authentication];
    }
  }
  return byTarget;
}

const NOWHERE = { file: "", line: 1, column: 1 };
const NOTHING_NEAR = {
  service: () => undefined,
  servicesOfEntry: () => [],
  hasEntry: () => false,
  waypoint: () => undefined,
  gatewayClass: () => undefined,
  jwks: () => undefined,
};

function inNamespace(
  namespace: string,
  parts: Pick<MeshParts, "policies" | "authentications">,
  key: string,
) {
  const snapshot = snapshotOf({ ...parts, services: [{ ...SERVICE_VALUE, key }] });
  const waypoint = snapshot.waypoints.get(WAYPOINT)!;
  return { ...snapshot, waypoints: new Map([[`${namespace}/waypoint`, waypoint]]) };
}
