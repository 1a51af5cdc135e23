/** What is said of the configuration while it is served: edits, and what is wrong with them. */
import type { ConfigurationEvent } from "../control/configuration.ts";
import { formatDiagnostic } from "../kit/diagnostic.ts";
import type { Output } from "./output.ts";

export function sayConfiguration(event: ConfigurationEvent, output: Output): void {
  if (event.kind === "diagnostics") {
    if (event.diagnostics.length === 0) output.say("No diagnostics any more.");
    for (const diagnostic of event.diagnostics) output.say(formatDiagnostic(diagnostic));
    return;
  }
  output.say(
    event.isChange
      ? `Revision ${event.revision} is in force (${event.tookMs.toFixed(1)} ms).`
      : `Nothing changes: revision ${event.revision} stays in force.`,
  );
}
