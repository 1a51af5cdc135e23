/**
 * What the embedded mesh's admin port answers beyond the standard paths:
 *
 *     /mesh                              the mesh for people and programs (mesh-report.ts)
 *     /decisions/<id>                    a recorded decision, explained
 *     /decisions?source=IP&since=MS      what ztunnels refused to that client since then
 *     /resolve?namespace=NS&host=NAME    what a workload of that namespace means by a host name
 */
import { createAdminServer, jsonResponse, textResponse } from "../agent/admin-routes.ts";
import type { AdminResponse, AdminServer } from "../agent/admin-server.ts";
import type { DecisionPayload } from "../agent/decision-record.ts";
import type { Readiness } from "../agent/readiness.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { DecisionLog } from "../telemetry/decision-log.ts";
import { resolveName } from "../ztunnel/names.ts";
import { decisionReport } from "./decision-report.ts";
import type { MeshReport } from "./mesh-report.ts";

export interface MeshAdminOptions {
  readonly snapshot: () => Snapshot;
  readonly report: () => MeshReport;
  readonly decisions: DecisionLog<DecisionPayload>;
  readonly readiness: Readiness;
  readonly quit: () => void;
}

const REFUSALS_MAX = 10;
const DECISIONS_SEARCHED = 256;

export function createMeshAdmin(options: MeshAdminOptions): AdminServer {
  const { snapshot, report, decisions, readiness, quit } = options;
  const server = createAdminServer({
    configDump: () => configDump(snapshot()),
    decision: (id) => {
      const found = decisions.find(id);
      return found && decisionReport(found);
    },
    readiness,
    quit,
  });
  server.addRoute({
    method: "GET",
    path: "/mesh",
    description: "services, workloads, policies, routes, conditions and diagnostics, as JSON",
    handler: () => jsonResponse(report()),
  });
  server.addRoute({
    method: "GET",
    path: "/decisions",
    description: "?source=IP&since=MS: what ztunnels refused to that client since then",
    handler: ({ query }) => refusals(decisions, query.get("source"), Number(query.get("since"))),
  });
  server.addRoute({
    method: "GET",
    path: "/resolve",
    description: "?namespace=NS&host=NAME: what a workload of that namespace means by a host name",
    handler: ({ query }) => resolve(snapshot(), query.get("namespace"), query.get("host")),
  });
  return server;
}

function refusals(
  decisions: DecisionLog<DecisionPayload>,
  source: string | null,
  sinceMs: number,
): AdminResponse {
  if (!source) return textResponse("source is missing\n", 400);
  const found = decisions
    .recent(DECISIONS_SEARCHED)
    .filter((d) => d.proxy === "ztunnel" && d.facts.sourceAddress === source && d.atMs >= sinceMs)
    .slice(0, REFUSALS_MAX);
  return jsonResponse(found.map(decisionReport));
}

function resolve(snapshot: Snapshot, namespace: string | null, host: string | null): AdminResponse {
  if (!namespace || !host) return textResponse("namespace and host are needed\n", 400);
  const service = resolveName(snapshot, namespace, host);
  if (service === undefined) return textResponse("no service of the mesh has that name\n", 404);
  const endpoints = snapshot.endpoints.get(service.key) ?? [];
  const address = service.addresses[0] ?? endpoints.find((e) => e.isHealthy)?.address;
  if (address === undefined) return textResponse("the service has no address\n", 404);
  return jsonResponse({ service: service.key, address });
}

/** Everything that the proxies hold. */
function configDump(snapshot: Snapshot): unknown {
  const object = <T>(index: { entries(): IterableIterator<[string, T]> }) =>
    Object.fromEntries([...index.entries()].map(([key, value]) => [key, plain(value)]));
  return {
    revision: snapshot.revision,
    settings: snapshot.settings,
    workloads: object(snapshot.workloads),
    services: object(snapshot.services),
    endpoints: object(snapshot.endpoints),
    waypoints: object(snapshot.waypoints),
    policies: object(snapshot.policies),
    l4Policies: object(snapshot.l4Policies),
    routes: object(snapshot.routes),
  };
}

/** JSON has no maps. */
function plain(value: unknown): unknown {
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, inner]) => [String(key), plain(inner)]));
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
