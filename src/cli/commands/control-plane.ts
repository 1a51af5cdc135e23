/**
 * `waystone control-plane`: serves manifests to proxies that are processes of their own, until it is
 * told to end. What it has to say of the configuration goes to stderr, as `up` says it.
 */
import { stateDirectory } from "../../local/run-file.ts";
import type { HostPort } from "../../net/listeners.ts";
import { ControlPlaneProcess } from "../../process/control-plane-process.ts";
import { sayConfiguration } from "../configuration-events.ts";
import { json, type Output } from "../output.ts";
import { StopSignal } from "../stop-signal.ts";
import { version } from "../version.ts";

export interface ControlPlaneOptions {
  readonly file: readonly string[];
  readonly state?: string;
  readonly address: HostPort;
  readonly serverName?: readonly string[];
  readonly trustedNodeAccounts: readonly string[];
  readonly adminAddress: HostPort;
  readonly metricsAddress: HostPort;
  readonly readinessAddress: HostPort;
  readonly drainTimeout: number;
  readonly output: "text" | "json";
}

export async function controlPlane(options: ControlPlaneOptions, output: Output): Promise<number> {
  const stop = new StopSignal();
  const directory = stateDirectory(options.state);
  const running = await ControlPlaneProcess.start({
    version: version(),
    paths: options.file,
    stateDirectory: directory,
    at: options.address,
    serverNames: options.serverName ?? [],
    trustedNodeAccounts: options.trustedNodeAccounts,
    admin: options.adminAddress,
    metrics: options.metricsAddress,
    readiness: options.readinessAddress,
    drainDelayMs: 0,
    drainTimeoutMs: options.drainTimeout,
    onEvent: (event) => sayConfiguration(event, output),
    onQuit: () => stop.trigger("quit"),
  });
  const { host, port } = running.at;
  const roots = `${directory}/root-cert.pem`;
  if (options.output === "json") output.print(json({ address: `${host}:${port}`, roots }));
  else output.print(`Serving configuration and certificates at ${host}:${port}; roots: ${roots}`);
  return await stop.untilStopped(running, output);
}
