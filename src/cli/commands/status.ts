/**
 * `waystone status`: conditions and diagnostics of the running mesh; of a cluster, which of its
 * policies are enforced by whom (kubectl shows the conditions).
 */
import type { EnforcementReport } from "../../control/serve/enforcement.ts";
import { formatDiagnostic } from "../../kit/diagnostic.ts";
import type { MeshReport } from "../../local/mesh-report.ts";
import { ControlPlanes, type ControlPlanesOptions, isClusterAsked } from "../control-planes.ts";
import { enforcementOf, type PolicyEnforcement } from "../enforcement.ts";
import { json, type Output, table } from "../output.ts";
import { RunningMesh } from "../running-mesh.ts";

export interface StatusOptions extends ControlPlanesOptions {
  readonly namespace?: string;
  readonly state?: string;
  readonly output: "text" | "json";
}

export async function status(options: StatusOptions, output: Output): Promise<number> {
  if (isClusterAsked(options)) {
    const policies = await policiesOf(options);
    output.print(options.output === "json" ? json({ policies }) : policyTable(policies));
    return 0;
  }
  const mesh = await RunningMesh.find(options.state);
  const report = await mesh.report();
  if (options.output === "json") output.print(json(report));
  else {
    output.print(conditionTable(report));
    for (const diagnostic of report.diagnostics) output.say(formatDiagnostic(diagnostic));
  }
  return 0;
}

async function policiesOf(options: StatusOptions): Promise<readonly PolicyEnforcement[]> {
  const { namespace } = options;
  const query = namespace === undefined ? "" : `?${new URLSearchParams({ namespace })}`;
  const controlPlanes = new ControlPlanes(options);
  const reports = await controlPlanes.ask<EnforcementReport>(`/debug/enforcedz${query}`);
  return enforcementOf(reports);
}

function policyTable(policies: readonly PolicyEnforcement[]): string {
  return table(
    ["POLICY", "ENFORCED", "REVISION", "WAITING FOR"],
    policies.map(({ kind, namespace, name, enforcing, waitingFor, revision }) => [
      `${kind} ${namespace}/${name}`,
      `${enforcing.length}/${enforcing.length + waitingFor.length}`,
      String(revision),
      waitingFor.join(", "),
    ]),
  );
}

function conditionTable({ conditions, policies, revision }: MeshReport): string {
  // One process holds all proxies, and swaps the mesh whole: what is attached is enforced.
  const enforced = policies.map(({ kind, key, attachedTo }) => [
    `${kind} ${key}`,
    "Enforced",
    "True",
    `Revision${revision}`,
    `at ${attachedTo.join(", ")}`,
  ]);
  return table(
    ["OBJECT", "TYPE", "STATUS", "REASON", "MESSAGE"],
    [...conditions.map((c) => [c.object, c.type, c.status, c.reason, c.message]), ...enforced],
  );
}
