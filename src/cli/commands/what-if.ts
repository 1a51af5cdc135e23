/**
 * `waystone what-if`: which of the requests that the mesh has seen would be decided otherwise under
 * other manifests. Nothing is sent and nothing is changed: the proxies' own function decides again.
 *
 * Beside a running mesh the manifests are laid over its own, as `kubectl apply` would; with
 * `--requests` and no running mesh they are all there is.
 */
import { relative } from "node:path";
import { whatIf as changesUnder } from "../../agent/replay/what-if.ts";
import type { Configuration } from "../../control/configuration.ts";
import { type Diagnostic, formatDiagnostic } from "../../kit/diagnostic.ts";
import { AddressPlan } from "../../local/addresses.ts";
import { localConfiguration } from "../../local/cluster.ts";
import { readRunFile, stateDirectory } from "../../local/run-file.ts";
import {
  CommandError,
  EXIT_CONFIGURATION,
  EXIT_FAILED,
  EXIT_UNAVAILABLE,
  exitCodeOf,
} from "../command-error.ts";
import { json, type Output, yaml } from "../output.ts";
import { loadRecordedRequests } from "../recorded-requests.ts";
import { RunningMesh } from "../running-mesh.ts";
import { whatIfText } from "../what-if-text.ts";

export interface WhatIfOptions {
  readonly file: readonly string[];
  /** A file of recorded requests, in place of the running mesh's. */
  readonly requests?: string;
  readonly state?: string;
  readonly output: "text" | "json" | "yaml";
}

/** As `kubectl diff`: 0: nothing would change; 1: something would, or it cannot be said of all. */
export async function whatIf(options: WhatIfOptions, output: Output): Promise<number> {
  try {
    return await tell(options, output);
  } catch (caught) {
    if (exitCodeOf(caught) !== EXIT_FAILED) throw caught;
    // 1 is an answer here, and there is none.
    const message = caught instanceof Error ? caught.message : String(caught);
    const hint = caught instanceof CommandError ? caught.hint : "";
    throw new CommandError(EXIT_UNAVAILABLE, message, hint, { cause: caught });
  }
}

async function tell(options: WhatIfOptions, output: Output): Promise<number> {
  const mesh = await meshOf(options);
  const requests =
    options.requests === undefined
      ? await mesh!.decisions()
      : await loadRecordedRequests(options.requests);
  const configuration = await newConfiguration(options.file, mesh, output);
  try {
    const report = changesUnder(configuration.control.current, requests);
    if (options.output === "json") output.print(json(report));
    else if (options.output === "yaml") output.print(yaml(report));
    else output.print(whatIfText(report));
    return report.changes.length + report.cannotSay.length > 0 ? EXIT_FAILED : 0;
  } finally {
    configuration.close();
  }
}

/** With a file of requests a mesh is used where one runs; without one it is needed. */
async function meshOf({ requests, state }: WhatIfOptions): Promise<RunningMesh | undefined> {
  const run = await readRunFile(stateDirectory(state));
  if (run !== undefined) return new RunningMesh(run);
  if (requests !== undefined) return undefined;
  throw new CommandError(
    EXIT_UNAVAILABLE,
    `no mesh is running whose requests could be looked at (no live run.json in ${stateDirectory(state)})`,
    "Start one with 'waystone up -f PATH', name its folder with --state, or name a file with --requests.",
  );
}

async function newConfiguration(
  paths: readonly string[],
  mesh: RunningMesh | undefined,
  output: Output,
): Promise<Configuration> {
  if (mesh === undefined) {
    const alone = localConfiguration(paths, new AddressPlan("addresses"));
    const isUsable = (await alone.load()) !== false;
    return accepted(alone, isUsable, alone.diagnostics, output);
  }
  const { files, addressMode, addressSeed } = mesh.run;
  const own = files.map((file) => shortPath(file));
  const configuration = localConfiguration(own, new AddressPlan(addressMode, addressSeed));
  if ((await configuration.load()) === false) {
    for (const each of configuration.diagnostics) output.say(formatDiagnostic(each));
    throw new CommandError(
      EXIT_CONFIGURATION,
      "the files of the running mesh do not parse as they are now, so nothing can be laid over them",
    );
  }
  const before = new Set(configuration.diagnostics.map(formatDiagnostic));
  const { isUsable, diagnostics } = await configuration.overlay(paths);
  const now = isUsable ? [...diagnostics, ...configuration.control.diagnostics] : diagnostics;
  const brought = now.filter((each) => !before.has(formatDiagnostic(each)));
  return accepted(configuration, isUsable, brought, output);
}

/** As the user would write it from here. */
function shortPath(file: string): string {
  const path = relative(process.cwd(), file);
  return path === "" || path.startsWith("..") ? file : path;
}

function accepted(
  configuration: Configuration,
  isUsable: boolean,
  diagnostics: readonly Diagnostic[],
  output: Output,
): Configuration {
  for (const each of diagnostics) output.say(formatDiagnostic(each));
  const errors = diagnostics.filter(({ level }) => level === "error").length;
  if (isUsable && errors === 0) return configuration;
  configuration.close();
  const what = errors === 1 ? "an error" : `${errors} errors`;
  throw new CommandError(EXIT_CONFIGURATION, `the new configuration has ${what}`);
}
