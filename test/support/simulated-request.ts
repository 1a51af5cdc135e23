/** What would become of a request in a mesh: its way as `waystone explain` tells it, in short. */
import { serviceKey } from "../../src/model/service.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import { journey } from "../../src/policy/journey.ts";

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
  const [namespace, account] = request.from.split("/");
  const source = [...snapshot.workloads.values()].find(
    (w) => w.namespace === namespace && w.serviceAccount === account,
  );
  if (source === undefined) throw new Error(`no workload is ${request.from}`);
  const [, name, home, port] = /^(.+)\.([^.:]+):(\d+)$/.exec(request.to)!;
  const service = snapshot.services.get(serviceKey(home!, name!, snapshot.settings.clusterDomain));
  if (service === undefined) throw new Error(`no service is ${request.to}`);
  const [path, query = ""] = request.path.split("?");
  const way = journey(snapshot, {
    source,
    sourceAddress: source.addresses[0]!,
    address: service.addresses[0]!,
    port: Number(port),
    http: {
      method: request.method,
      path: path!,
      query,
      authority: `${name}:${port}`,
      header: (header) => request.headers?.[header],
    },
    draw: 0,
    nowMs: Date.now(),
  });
  const last = way.steps.at(-1);
  const verdict = last?.decision?.verdict;
  const at = [last?.hop.proxy, way.status, verdict?.policy ?? verdict?.because, way.because];
  const isAllowed = way.isAllowed && way.status === undefined;
  return { isAllowed, at: at.filter((part) => part !== undefined).join(" ") };
}
