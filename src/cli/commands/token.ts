/**
 * `waystone token NS/SA`: a token for a proxy that no Kubernetes gives one, signed with the key in
 * the control plane's state directory. It goes to stdout, so that it can be sent into a file.
 */
import { LocalTokens } from "../../control/serve/tokens.ts";
import { stateDirectory } from "../../local/run-file.ts";
import { usageError } from "../command-error.ts";
import type { Output } from "../output.ts";

export interface TokenOptions {
  readonly account: string;
  readonly node?: string;
  readonly pod?: string;
  readonly ttl: number;
  readonly state?: string;
}

export async function token(options: TokenOptions, output: Output): Promise<number> {
  const [namespace = "", serviceAccount = "", rest] = options.account.split("/");
  if (namespace === "" || serviceAccount === "" || rest !== undefined) {
    const hint = "A waypoint's is NAMESPACE/NAME of its Gateway; a ztunnel's istio-system/ztunnel.";
    throw usageError(`${options.account} is not NAMESPACE/SERVICEACCOUNT`, hint);
  }
  const { node, pod: podName, ttl } = options;
  const tokens = await LocalTokens.open(stateDirectory(options.state));
  output.print(await tokens.issue({ namespace, serviceAccount, podName, node }, ttl));
  return 0;
}
