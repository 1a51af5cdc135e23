/** The tables that `waystone up` prints when the mesh is ready. */
import { formatDiagnostic } from "../kit/diagnostic.ts";
import type { MeshReport, PortReport, ServiceReport } from "../local/mesh-report.ts";
import { shortName } from "../model/workload-names.ts";
import { table } from "./output.ts";

/** Rows of a table that are shown; a large mesh would fill the terminal. */
const ROWS_MAX = 40;

export function meshTables(report: MeshReport): string {
  const sections = [
    section(
      ["SERVICE", "ADDRESS", "PORTS", "WAYPOINT", "ENDPOINTS"],
      report.services.map((service) => [
        `${service.namespace}/${service.name}`,
        service.address,
        service.ports.map((port) => portText(service, port)).join(","),
        service.waypoint,
        `${service.healthyEndpoints}/${service.endpoints}`,
      ]),
    ),
    section(
      ["WORKLOAD", "ADDRESS", "IDENTITY", "PROTOCOL", "PLAYED BY"],
      report.workloads.map((workload) => [
        `${workload.namespace}/${workload.name}`,
        workload.address,
        workload.identity,
        workload.protocol,
        workload.playedBy,
      ]),
    ),
    section(
      ["WAYPOINT", "ADDRESS", "TRAFFIC", "READY"],
      report.waypoints.map((waypoint) => [
        waypoint.key,
        waypoint.address,
        waypoint.trafficType,
        waypoint.isReady ? "yes" : "no",
      ]),
    ),
    section(
      ["POLICY", "ACTION", "ATTACHED TO"],
      report.policies.map((policy) => [policy.key, policy.action, policy.attachedTo.join("; ")]),
    ),
    section(
      ["ROUTE", "ATTACHED TO"],
      report.routes.map((route) => [route.key, route.attachedTo.join("; ")]),
    ),
    report.diagnostics.map(formatDiagnostic).join("\n"),
  ];
  return sections.filter((text) => text !== "").join("\n\n");
}

function section(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const text = table(headers, rows.slice(0, ROWS_MAX));
  return rows.length <= ROWS_MAX ? text : `${text}\n… and ${rows.length - ROWS_MAX} more`;
}

/** `9080`, or `9080→127.0.0.1:41234` where the address is not a real one, or what is wrong. */
function portText(service: ServiceReport, { port, dial }: PortReport): string {
  if (service.address === "") return String(port);
  if (dial === undefined) return `${port} (not served)`;
  return dial.host === service.address ? String(port) : `${port}→${dial.host}:${dial.port}`;
}

/** How to send a request, with names of this mesh; `state` is the folder that was named for it. */
export function requestHint(report: MeshReport, state?: string): string {
  const service = report.services.find((s) => s.waypoint !== "" && s.ports.length > 0);
  const target = service ?? report.services.find((s) => s.ports.length > 0);
  const from = report.workloads.find(
    (w) => w.playedBy !== "waypoint" && w.namespace === target?.namespace,
  );
  if (target === undefined || from === undefined) return "";
  const url = `http://${target.name}:${target.ports[0]!.port}/`;
  const name = shortName(from, report.workloads);
  const where = state === undefined ? "" : `--state ${state} `;
  return `Ask it: waystone request ${where}--from ${name} GET ${url}`;
}
