/** `waystone validate`: reads manifests as `up` would, runs nothing, and says what is wrong. */
import { type Diagnostic, formatDiagnostic } from "../../kit/diagnostic.ts";
import { AddressPlan } from "../../local/addresses.ts";
import { localConfiguration } from "../../local/cluster.ts";
import { EXIT_CONFIGURATION } from "../command-error.ts";
import { json, type Output } from "../output.ts";

export interface ValidateOptions {
  readonly file: readonly string[];
  readonly output: "text" | "json";
}

export async function validate(options: ValidateOptions, output: Output): Promise<number> {
  const { objects, diagnostics } = await examine(options.file);
  const errors = diagnostics.filter((d) => d.level === "error").length;
  if (options.output === "json") output.print(json({ objects, diagnostics }));
  else {
    for (const diagnostic of diagnostics) output.print(formatDiagnostic(diagnostic));
    const count = (n: number, noun: string) => `${n} ${noun}${n === 1 ? "" : "s"}`;
    const warnings = count(diagnostics.length - errors, "warning");
    output.say(`${count(objects, "object")}, ${count(errors, "error")}, ${warnings}`);
  }
  return errors > 0 ? EXIT_CONFIGURATION : 0;
}

/** All diagnostics of the manifests: those of reading them, and what the control plane finds. */
export async function examine(
  paths: readonly string[],
): Promise<{ objects: number; diagnostics: readonly Diagnostic[] }> {
  const configuration = localConfiguration(paths, new AddressPlan("addresses"));
  try {
    const objects = await configuration.load();
    return { objects: objects || 0, diagnostics: configuration.diagnostics };
  } finally {
    configuration.close();
  }
}
