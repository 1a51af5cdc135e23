/** What a proxy's options come to: its way to the control plane, and what is around its work. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Failure } from "../kit/failure.ts";
import {
  type ControlPlaneLink,
  connectControlPlane,
  type ProxyNode,
} from "../process/control-plane-link.ts";
import type { ProcessHostOptions } from "../process/process-host.ts";
import type { ProxyOptions } from "./proxy-options.ts";
import { version } from "./version.ts";

const READ_REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EISDIR: "it is a folder",
  ENOENT: "there is no such file",
  ENOTDIR: "a part of its path is a file",
};

/** A file's text, without the end of its last line. */
export async function readSecret(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (caught) {
    const { code = "", message } = caught as NodeJS.ErrnoException;
    const detail = `${path} cannot be read: ${READ_REASONS[code] ?? message}`;
    throw new Failure("CONFIGURATION_INVALID", detail, { cause: caught });
  }
}

/** Reads the file each time, or gives the text itself. */
function fileOrText(value: string, isText: RegExp): () => Promise<string> {
  return async () => (isText.test(value) && !existsSync(value) ? value : await readSecret(value));
}

/** How the process reaches its control plane. */
export function linkTo(
  options: ProxyOptions,
  node: Omit<ProxyNode, "instanceIp" | "clusterId" | "version">,
): ControlPlaneLink {
  const { xdsAddress, caAddress = xdsAddress, roots, token, clusterId } = options;
  const { istiod, controlPlaneIdentity } = options;
  return connectControlPlane({
    istiod,
    controlPlaneIdentity,
    xds: xdsAddress,
    ca: caAddress,
    roots: fileOrText(roots, /-----BEGIN/),
    token: fileOrText(token, /^[\w-]+\.[\w-]+\.[\w-]*$/),
    lastConfiguration: options.lastConfiguration,
    node: {
      ...node,
      instanceIp: options.instanceIp ?? "127.0.0.1",
      clusterId,
      version: version(),
    },
  });
}

/** What each proxy process has around its work. */
export function processHost(
  options: ProxyOptions,
  onQuit: () => void,
): Omit<ProcessHostOptions, "component"> {
  return {
    version: version(),
    admin: options.adminAddress,
    metrics: options.metricsAddress,
    readiness: options.readinessAddress,
    drainDelayMs: options.drainDelay,
    drainTimeoutMs: options.drainTimeout,
    onQuit,
  };
}
