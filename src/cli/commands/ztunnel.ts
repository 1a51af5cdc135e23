/**
 * `waystone ztunnel`: the L4 proxy of one node, configured by a control plane, until it is told to
 * end.
 */
import type { HostPort } from "../../net/listeners.ts";
import { ZtunnelProcess } from "../../process/ztunnel-process.ts";
import { usageError } from "../command-error.ts";
import type { Output } from "../output.ts";
import { linkTo, processHost, readSecret } from "../proxy-link.ts";
import type { ProxyOptions } from "../proxy-options.ts";
import { StopSignal } from "../stop-signal.ts";

export interface ZtunnelOptions extends ProxyOptions {
  readonly node?: string;
  readonly socksAddress?: HostPort;
  readonly socksPasswordFile?: string;
  readonly dnsAddress?: HostPort;
  readonly originalSource: boolean;
  readonly capture?: readonly { readonly at: HostPort; readonly to: HostPort }[];
}

export async function ztunnel(options: ZtunnelOptions, output: Output): Promise<number> {
  const { node, socksAddress, socksPasswordFile, capture = [], certificateTtl } = options;
  if (!node) throw usageError("--node (or NODE_NAME) says whose workloads it serves");
  if ((socksAddress === undefined) !== (socksPasswordFile === undefined)) {
    throw usageError("--socks-address and --socks-password-file come together");
  }
  const stop = new StopSignal();
  const password = socksPasswordFile && (await readSecret(socksPasswordFile));
  const running = await ZtunnelProcess.start({
    ...processHost(options, () => stop.trigger("quit")),
    node,
    link: linkTo(options, {
      kind: "ztunnel",
      namespace: options.podNamespace ?? "istio-system",
      podName: options.podName ?? `ztunnel-${node}`,
      nodeName: node,
    }),
    certificateTtlMs: certificateTtl,
    workers: options.workers,
    socks: socksAddress && password ? { at: socksAddress, password } : undefined,
    captures: capture,
    dns: options.dnsAddress,
    keepsSource: options.originalSource,
  });
  const { socks, readiness } = running.ports;
  const entry = socks ? ` SOCKS5 ${socks.host}:${socks.port},` : "";
  output.say(`ztunnel of ${node}:${entry} readiness ${readiness.host}:${readiness.port}.`);
  return await stop.untilStopped(running, output);
}
