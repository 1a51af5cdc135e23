/**
 * Waits until a Deployment runs as it is to, as `kubectl rollout status` does.
 */

import { isRefusal, type KubeClient } from "../../control/source/kubernetes/kube-client.ts";
import { pause } from "../../kit/backoff.ts";
import { CommandError, EXIT_FAILED } from "../command-error.ts";

const LOOK_MS = 1_000;

interface Deployment {
  readonly metadata: { readonly generation?: number };
  readonly spec?: { readonly replicas?: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly updatedReplicas?: number;
    readonly availableReplicas?: number;
  };
}

export interface RolloutOptions {
  readonly client: Pick<KubeClient, "get">;
  readonly namespace: string;
  readonly name: string;
  readonly timeoutMs: number;
  readonly lookMs?: number;
}

/** Throws when the time is over; an API server that is away for a moment does not end it. */
export async function rolledOut(options: RolloutOptions): Promise<void> {
  const { client, namespace, name, timeoutMs, lookMs = LOOK_MS } = options;
  const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
  const signal = AbortSignal.timeout(timeoutMs);
  let missing = "the API server has not answered";
  while (!signal.aborted) {
    try {
      const answer = await client.get(path, {}, signal);
      const found = isRefusal(answer) ? answer.message : missingOf(answer.body as Deployment);
      if (found === undefined) return;
      missing = found;
    } catch (caught) {
      if (!signal.aborted) missing = (caught as Error).message;
    }
    await pause(lookMs, signal);
  }
  throw new CommandError(
    EXIT_FAILED,
    `Deployment ${namespace}/${name} is not ready after ${timeoutMs / 1000} s: ${missing}`,
    `See 'kubectl describe pods -n ${namespace} -l app.kubernetes.io/name=waystone' and its log.`,
  );
}

function missingOf({ metadata, spec, status = {} }: Deployment): string | undefined {
  const wanted = spec?.replicas ?? 1;
  const { updatedReplicas = 0, availableReplicas = 0, replicas = 0 } = status;
  if ((status.observedGeneration ?? 0) < (metadata.generation ?? 0)) return "it was not looked at";
  if (updatedReplicas < wanted) return `${updatedReplicas} of ${wanted} Pods are new`;
  if (replicas > updatedReplicas) return `${replicas - updatedReplicas} old Pods are to end`;
  if (availableReplicas < wanted) return `${availableReplicas} of ${wanted} Pods are available`;
  return undefined;
}
