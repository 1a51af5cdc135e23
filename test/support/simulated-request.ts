/** What would become of a request, for tests that ask of manifests whether it passes. */
import { explainRequest } from "../../src/local/explained-request.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";

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
  /** The whole way, for people. */
  readonly at: string;
}

export function simulate(snapshot: Snapshot, request: SimulatedRequest): Outcome {
  const headers = Object.entries(request.headers ?? {});
  const report = explainRequest(snapshot, { ...request, headers, answers: {}, draw: 0 });
  // What a proxy answers itself has not arrived.
  return { isAllowed: report.isAllowed && report.status === undefined, at: report.text };
}
