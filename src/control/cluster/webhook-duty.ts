/**
 * The leader's work on the validating webhook: the API server is told the roots by which it knows
 * who answers. An installation without the webhook's configuration has none, and gets none.
 */
import { pause } from "../../kit/backoff.ts";
import { Failure } from "../../kit/failure.ts";
import { type Logger, log } from "../../kit/log.ts";
import { isRefusal, type KubeClient } from "../source/kubernetes/kube-client.ts";
import type { Duty } from "./cluster-duties.ts";
import { WEBHOOK_NAME } from "./permissions.ts";

export interface WebhookDutyOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  readonly roots: {
    /** As its clients are to trust them now. */
    readonly rootsPem: string;
    /** Calls back when they are others. */
    onRoots?(listener: () => void): () => void;
  };
  /** How often it is looked at what others have made of it. */
  readonly lookMs?: number;
  readonly logger?: Logger;
}

const PATH = `/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/${WEBHOOK_NAME}`;
const LOOK_MS = 60_000;
const NOT_FOUND = 404;

interface WebhookConfiguration {
  readonly metadata: { readonly resourceVersion: string };
  readonly webhooks?: readonly {
    readonly name: string;
    readonly clientConfig?: { readonly caBundle?: string };
  }[];
}

export function webhookDuty(options: WebhookDutyOptions): Duty {
  return { lead: (signal) => void keep(options, signal) };
}

async function keep(options: WebhookDutyOptions, signal: AbortSignal): Promise<void> {
  const { roots, lookMs = LOOK_MS, logger = log("webhook") } = options;
  let told = "";
  while (!signal.aborted) {
    const news = new AbortController();
    const forget = roots.onRoots?.(() => news.abort()) ?? (() => {});
    const trouble = await put(options, signal).catch(
      (caught: unknown) => Failure.from(caught, "KUBERNETES_UNAVAILABLE").message,
    );
    if (signal.aborted) return forget();
    if (trouble !== told && trouble !== "") {
      logger.warn({ reason: trouble }, "the API server does not know this webhook's roots");
    }
    told = trouble;
    await pause(lookMs, AbortSignal.any([signal, news.signal]));
    forget();
  }
}

/** What hindered it; empty: the configuration is as it is to be, or there is none. */
async function put({ client, roots }: WebhookDutyOptions, signal: AbortSignal): Promise<string> {
  const found = await client.get(PATH, {}, signal);
  if (isRefusal(found)) {
    return found.status === NOT_FOUND ? "" : `${found.status} ${found.message}`;
  }
  const { metadata, webhooks = [] } = found.body as WebhookConfiguration;
  const caBundle = Buffer.from(roots.rootsPem).toString("base64");
  if (webhooks.every(({ clientConfig }) => clientConfig?.caBundle === caBundle)) return "";
  const { resourceVersion } = metadata;
  const wanted = webhooks.map((webhook) => ({
    ...webhook,
    clientConfig: { ...webhook.clientConfig, caBundle },
  }));
  // The list is one value to a merge patch; the version keeps another's edit from being undone.
  const patch = { metadata: { resourceVersion }, webhooks: wanted };
  const written = await client.write("merge", PATH, {}, patch, signal);
  return isRefusal(written) ? `${written.status} ${written.message}` : "";
}
