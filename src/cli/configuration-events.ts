/** What is said of the configuration while it is served: edits, and what is wrong with them. */
import type { ConfigurationEvent } from "../control/configuration.ts";
import { formatDiagnostic } from "../kit/diagnostic.ts";
import type { Output } from "./output.ts";

/**
 * Of objects that many people write: each problem once, when it begins. Revisions come by the
 * second there, and are counted in metrics.
 */
export function problemsSayer(output: Output): (event: ConfigurationEvent) => void {
  let said: ReadonlySet<string> = new Set();
  return (event) => {
    if (event.kind !== "diagnostics") return;
    const now = new Set(event.diagnostics.map(formatDiagnostic));
    for (const text of now) if (!said.has(text)) output.say(text);
    said = now;
  };
}

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
