/**
 * `waystone waypoint NAMESPACE/NAME`: one instance of a Gateway's waypoint, configured by a control
 * plane, until it is told to end.
 */
import type { HostPort } from "../../net/listeners.ts";
import { WaypointProcess } from "../../process/waypoint-process.ts";
import { usageError } from "../command-error.ts";
import type { Output } from "../output.ts";
import { linkTo, processHost } from "../proxy-link.ts";
import type { ProxyOptions } from "../proxy-options.ts";
import { StopSignal } from "../stop-signal.ts";

export interface WaypointOptions extends ProxyOptions {
  readonly gateway: string;
  readonly address?: HostPort;
  readonly serviceAccount?: string;
}

const HBONE_PORT = 15008;

export async function waypoint(options: WaypointOptions, output: Output): Promise<number> {
  const [namespace = "", name = "", rest] = options.gateway.split("/");
  if (namespace === "" || name === "" || rest !== undefined) {
    throw usageError(`${options.gateway} is not NAMESPACE/NAME of a Gateway`);
  }
  const { instanceIp, serviceAccount = name, certificateTtl } = options;
  const at = options.address ?? { host: instanceIp ?? "0.0.0.0", port: HBONE_PORT };
  const stop = new StopSignal();
  const running = await WaypointProcess.start({
    ...processHost(options, () => stop.trigger("quit")),
    waypoint: { namespace, name, serviceAccount, instanceIp, drainGraceMs: options.drainDelay },
    at,
    link: linkTo(options, {
      kind: "waypoint",
      namespace,
      podName: options.podName ?? name,
      nodeName: "",
      gateway: options.gateway,
    }),
    certificateTtlMs: certificateTtl,
    workers: options.workers,
  });
  const { readiness } = running.ports;
  const where = `${at.host}:${at.port}`;
  output.say(
    `waypoint ${namespace}/${name}: ${where}, readiness ${readiness.host}:${readiness.port}.`,
  );
  return await stop.untilStopped(running, output);
}
