/**
 * What the embedded mesh's admin port answers beyond the standard paths:
 *
 *     /mesh                              the mesh for people and programs (mesh-report.ts)
 *     /decisions/<id>                    a recorded decision, explained
 *     /decisions?source=IP&since=MS      what ztunnels refused to that client since then
 *     /decisions                         all that are kept, oldest first, to be decided again
 *     /resolve?namespace=NS&host=NAME    what a workload of that namespace means by a host name
 *     /explain?question=JSON             what would become of a request
 */
import { createAdminServer, jsonResponse, textResponse } from "../agent/admin-routes.ts";
import type { AdminResponse, AdminServer } from "../agent/admin-server.ts";
import { configDump } from "../agent/config-dump.ts";
import type { DecisionPayload } from "../agent/decision-record.ts";
import { decisionReport } from "../agent/decision-report.ts";
import type { Readiness } from "../agent/readiness.ts";
import { recordedRequest } from "../agent/replay/recorded-request.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { DecisionLog } from "../telemetry/decision-log.ts";
import { resolveName } from "../ztunnel/names.ts";
import { explainRequest, type RequestQuestion, UnknownName } from "./explained-request.ts";
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
    description:
      "all that are kept (waystone decisions); ?source=IP&since=MS: what ztunnels refused to that client",
    handler: ({ query }) =>
      query.has("source")
        ? refusals(decisions, query.get("source"), Number(query.get("since")))
        : { status: 200, contentType: "application/json", body: recordedRequests(decisions) },
  });
  server.addRoute({
    method: "GET",
    path: "/resolve",
    description: "?namespace=NS&host=NAME: what a workload of that namespace means by a host name",
    handler: ({ query }) => resolve(snapshot(), query.get("namespace"), query.get("host")),
  });
  server.addRoute({
    method: "GET",
    path: "/explain",
    description: "?question=JSON: what would become of a request (waystone explain)",
    handler: ({ query }) => explained(snapshot(), query.get("question") ?? ""),
  });
  return server;
}

/** In place of an answer. */
export interface UnknownNameReport {
  readonly problem: string;
  readonly hint: string;
}

function explained(snapshot: Snapshot, question: string): AdminResponse {
  try {
    return jsonResponse(explainRequest(snapshot, JSON.parse(question) as RequestQuestion));
  } catch (caught) {
    if (caught instanceof SyntaxError) return textResponse("question is no JSON\n", 400);
    if (!(caught instanceof UnknownName)) throw caught;
    const report: UnknownNameReport = { problem: caught.message, hint: caught.hint };
    return jsonResponse(report);
  }
}

function refusals(
  decisions: DecisionLog<DecisionPayload>,
  source: string | null,
  sinceMs: number,
): AdminResponse {
  if (!source) return textResponse("source is missing\n", 400);
  const found = decisions
    .recent(DECISIONS_SEARCHED)
    .filter((d) => d.proxy === "ztunnel" && d.payload.flags !== "-")
    .filter((d) => d.facts.sourceAddress === source && d.atMs >= sinceMs)
    .slice(0, REFUSALS_MAX);
  return jsonResponse(found.map(decisionReport));
}

/** In pieces: there may be thousands, and each is decided again for what came of it. */
function* recordedRequests(decisions: DecisionLog<DecisionPayload>): Generator<string> {
  let before = "[";
  for (const decision of decisions.recent().toReversed()) {
    yield `${before}${JSON.stringify(recordedRequest(decision))}`;
    before = ",\n";
  }
  yield before === "[" ? "[]\n" : "]\n";
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
