/**
 * What would become of a request, by the proxies' own decisions along its way and without any
 * network: the client's ztunnel, the waypoint if there is one, the ztunnel of the workload.
 */

import { serviceKey } from "../../src/model/service.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import { type Workload, workloadIdentity } from "../../src/model/workload.ts";
import { decide } from "../../src/policy/decide.ts";
import { httpDecider } from "../../src/policy/decider.ts";
import type { HttpFacts } from "../../src/policy/facts.ts";
import { nextHop } from "../../src/policy/next-hop.ts";
import { pickEndpoint } from "../../src/policy/pick-endpoint.ts";

export interface SimulatedRequest {
  /** `<ns>/<service account>`; the client is the first of its workloads. */
  readonly from: string;
  /** `<service>.<ns>:<port>`. */
  readonly to: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Outcome {
  readonly isAllowed: boolean;
  /** Where it ended. */
  readonly at: string;
}

export function simulate(snapshot: Snapshot, request: SimulatedRequest): Outcome {
  const [account, target] = [request.from.split("/"), /^(.+)\.([^.:]+):(\d+)$/.exec(request.to)!];
  const source = [...snapshot.workloads.values()].find(
    (w) => w.namespace === account[0] && w.serviceAccount === account[1],
  );
  if (source === undefined) throw new Error(`no workload is ${request.from}`);
  const key = serviceKey(target[2]!, target[1]!, snapshot.settings.clusterDomain);
  const service = snapshot.services.get(key);
  if (service === undefined) throw new Error(`no service is ${key}`);
  const port = Number(target[3]);
  const address = service.addresses[0]!;
  const hop = nextHop(snapshot, { source, address, port, draw: 0 });
  if (hop.kind === "refused") return { isAllowed: false, at: hop.because };
  if (hop.kind === "passthrough") return { isAllowed: true, at: "passed through" };
  if (hop.kind === "direct") return arrive(snapshot, hop.workload, hop.port, undefined, source);
  if (hop.waypoint === undefined) {
    return arrive(snapshot, hop.workload, hop.authorityPort, workloadIdentity(source), source);
  }
  const waypoint = { proxy: "waypoint", waypoint: hop.waypoint, service: key, port } as const;
  const facts: HttpFacts = {
    sourceIdentity: workloadIdentity(source),
    sourceAddress: source.addresses[0]!,
    destinationAddress: address,
    destinationPort: port,
    method: request.method,
    path: request.path.replace(/\?.*/, ""),
    query: request.path.includes("?") ? request.path.replace(/^[^?]*\?/, "") : "",
    authority: `${target[1]}:${port}`,
    header: (name) => request.headers?.[name],
  };
  const { authenticator } = httpDecider(snapshot, hop.waypoint, waypoint, port);
  const authentication = authenticator?.authenticate(facts, Date.now());
  if (authentication?.isPassed === false) {
    return { isAllowed: false, at: `waypoint: ${authentication.status} ${authentication.reason}` };
  }
  const known = { ...facts, jwt: authentication?.jwt };
  const { verdict, status, backend } = decide(snapshot, waypoint, known, 0);
  if (!verdict.isAllowed || status !== undefined) {
    return { isAllowed: false, at: `waypoint: ${status} ${verdict.policy ?? verdict.because}` };
  }
  const chosen = snapshot.services.get(backend?.service ?? key)!;
  const query = { source: hop.workload, port: backend?.port ?? port, draw: 0 };
  const endpoint = pickEndpoint(snapshot, chosen, query);
  if (endpoint === undefined) return { isAllowed: false, at: "waypoint: no endpoint" };
  const workload = snapshot.workloads.get(endpoint.workloadUid)!;
  const identity = workloadIdentity(hop.workload);
  return arrive(snapshot, workload, endpoint.ports.get(query.port)!, identity, hop.workload);
}

/** At the workload's ztunnel, if it has one. */
function arrive(
  snapshot: Snapshot,
  workload: Workload,
  port: number,
  sourceIdentity: string | undefined,
  source: Workload,
): Outcome {
  if (workload.tunnelProtocol !== "HBONE") return { isAllowed: true, at: "workload, unguarded" };
  const facts = {
    sourceIdentity,
    sourceAddress: source.addresses[0]!,
    destinationAddress: workload.addresses[0]!,
    destinationPort: port,
  };
  const { verdict } = decide(snapshot, { proxy: "ztunnel", workload: workload.uid }, facts, 0);
  return { isAllowed: verdict.isAllowed, at: `ztunnel: ${verdict.policy ?? verdict.because}` };
}
