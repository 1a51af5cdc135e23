/** `waystone decisions`: what the running mesh has decided lately, for people or for `what-if`. */
import type { RecordedRequest } from "../../agent/replay/recorded-request.ts";
import { json, type Output, table, yaml } from "../output.ts";
import { outcomeText, requestText, sourceText, targetText } from "../recorded-text.ts";
import { RunningMesh } from "../running-mesh.ts";

export interface DecisionsOptions {
  readonly state?: string;
  readonly output: "text" | "json" | "yaml";
}

export async function decisions(options: DecisionsOptions, output: Output): Promise<number> {
  const requests = await (await RunningMesh.find(options.state)).decisions();
  if (options.output === "json") output.print(json(requests));
  else if (options.output === "yaml") output.print(yaml(requests));
  else if (requests.length === 0) output.say("The mesh has decided nothing yet.");
  else output.print(decisionTable(requests));
  return 0;
}

function decisionTable(requests: readonly RecordedRequest[]): string {
  return table(
    ["TIME", "REQUEST", "FROM", "TO", "ID", "DECISION"],
    requests.map((request) => [
      request.at.slice(11, 23),
      requestText(request),
      sourceText(request),
      targetText(request),
      request.id,
      request.outcome === undefined ? "" : outcomeText(request.outcome),
    ]),
  );
}
