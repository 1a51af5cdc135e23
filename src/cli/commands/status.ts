/** `waystone status`: conditions and diagnostics of the running mesh. */
import { formatDiagnostic } from "../../kit/diagnostic.ts";
import type { MeshReport } from "../../local/mesh-report.ts";
import { json, type Output, table } from "../output.ts";
import { RunningMesh } from "../running-mesh.ts";

export interface StatusOptions {
  readonly state?: string;
  readonly output: "text" | "json";
}

export async function status(options: StatusOptions, output: Output): Promise<number> {
  const mesh = await RunningMesh.find(options.state);
  const report = await mesh.report();
  if (options.output === "json") output.print(json(report));
  else {
    output.print(conditionTable(report));
    for (const diagnostic of report.diagnostics) output.say(formatDiagnostic(diagnostic));
  }
  return 0;
}

function conditionTable({ conditions }: Pick<MeshReport, "conditions">): string {
  return table(
    ["OBJECT", "TYPE", "STATUS", "REASON", "MESSAGE"],
    conditions.map((c) => [c.object, c.type, c.status, c.reason, c.message]),
  );
}
