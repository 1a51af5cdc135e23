/**
 * `waystone up`: runs the mesh that the manifests describe, until Ctrl-C.
 *
 * The table of what is there goes to stdout when the mesh is ready; what happens later (reloads,
 * diagnostics) goes to stderr. The first Ctrl-C drains, the second one cuts.
 */
import { resolve } from "node:path";
import { setLogLevel } from "../../kit/log.ts";
import type { WorkloadOverride } from "../../local/echoes.ts";
import { LocalMesh, type MeshEvent } from "../../local/local-mesh.ts";
import { stateDirectory } from "../../local/run-file.ts";
import { sayConfiguration } from "../configuration-events.ts";
import { loadRequests, runDemo } from "../demo.ts";
import { meshTables, requestHint } from "../mesh-tables.ts";
import { json, type Output } from "../output.ts";
import { RunningMesh } from "../running-mesh.ts";
import { StopSignal } from "../stop-signal.ts";
import { version } from "../version.ts";

export interface UpOptions {
  readonly file: readonly string[];
  readonly workload?: readonly WorkloadOverride[];
  readonly demo?: boolean;
  readonly state?: string;
  readonly adminPort?: number;
  readonly metricsPort?: number;
  readonly readinessPort?: number;
  readonly socksPort?: number;
  readonly drainTimeout: number;
  readonly verbose?: boolean;
  readonly output: "text" | "json";
}

export async function up(options: UpOptions, output: Output): Promise<number> {
  // One line a connection is for operators; here it would bury what is said to people.
  const isForOperators = options.verbose === true || Boolean(process.env.WAYSTONE_LOG_LEVEL);
  if (!process.env.WAYSTONE_LOG_LEVEL) setLogLevel(options.verbose ? "info" : "warn");
  const requests = options.demo ? await loadRequests(options.file) : [];
  const stop = new StopSignal();
  const mesh = await LocalMesh.start({
    paths: options.file,
    overrides: options.workload ?? [],
    stateDirectory: stateDirectory(options.state),
    addressSeed: options.state ? resolve(options.state) : "",
    version: version(),
    adminPort: options.adminPort,
    metricsPort: options.metricsPort,
    readinessPort: options.readinessPort,
    socksPort: options.socksPort,
    drainTimeoutMs: options.drainTimeout,
    logsConnections: isForOperators,
    onEvent: (event) => sayEvent(event, output),
    onQuit: () => stop.trigger("quit"),
  });
  announce(mesh, options, output);
  if (requests.length > 0) {
    output.print("");
    await runDemo(new RunningMesh(mesh.run), requests, output);
  }
  if (options.output === "text") output.say("\nCtrl-C ends the mesh.");
  return await stop.untilStopped(mesh, output);
}

function announce(mesh: LocalMesh, options: UpOptions, output: Output): void {
  const report = mesh.report();
  const { adminUrl, metricsUrl, socks } = mesh.run;
  // `process.uptime()` counts from the start of node itself.
  const readyMs = Math.round(process.uptime() * 1000);
  if (options.output === "json") {
    output.print(json({ ...report, run: { ...mesh.run, token: undefined }, readyMs }));
    return;
  }
  output.print(meshTables(report));
  output.print(
    `\nReady ${readyMs} ms after the start of node.` +
      ` Admin ${adminUrl}, metrics ${metricsUrl}/metrics, SOCKS5 ${socks.host}:${socks.port}.`,
  );
  const hint = requestHint(report, options.state);
  if (hint) output.print(hint);
}

function sayEvent(event: MeshEvent, output: Output): void {
  if (event.kind === "problem") output.say(`Warning: ${event.message}`);
  else sayConfiguration(event, output);
}
