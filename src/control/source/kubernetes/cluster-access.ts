/**
 * The way to an API server and who we are there, as kubectl finds them: the kubeconfig that is
 * named, in a Pod its service account, else the kubeconfig of the user.
 *
 * The library reads them (exec plugins, client certificates, proxies and all); certificate files
 * with each request, token files once a minute. `forget()` has everything read anew.
 */
import { existsSync, readFileSync } from "node:fs";
import type { RequestOptions } from "node:https";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import type { KubeConfig } from "@kubernetes/client-node";
import { parse } from "yaml";
import { Failure } from "../../../kit/failure.ts";

export interface ClusterAccessOptions {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  /** Where a Pod's file system begins; another one in tests. */
  readonly podRoot?: string | undefined;
}

/** A request's options, and the address that its path is behind. */
export interface Authorized {
  readonly server: string;
  readonly options: RequestOptions;
}

const SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

export class ClusterAccess {
  readonly #options: ClusterAccessOptions;
  #config: KubeConfig | undefined;

  constructor(options: ClusterAccessOptions) {
    this.#options = options;
  }

  /** Throws KUBERNETES_ACCESS_INVALID when there is no way that could be tried. */
  async authorized(): Promise<Authorized> {
    try {
      const config = await this.config();
      const server = config.getCurrentCluster()?.server ?? "";
      const options: RequestOptions & { headers: Record<string, unknown> } = { headers: {} };
      await config.applyToHTTPSOptions(options);
      // A token file that ends with a newline would make a header that Node refuses.
      const { Authorization: token } = options.headers;
      if (typeof token === "string") options.headers.Authorization = token.trim();
      return { server, options };
    } catch (caught) {
      throw Failure.from(caught, "KUBERNETES_ACCESS_INVALID");
    }
  }

  /** For what of the library takes it whole. Throws KUBERNETES_ACCESS_INVALID. */
  async config(): Promise<KubeConfig> {
    try {
      this.#config ??= await loadConfig(this.#options);
      return this.#config;
    } catch (caught) {
      throw Failure.from(caught, "KUBERNETES_ACCESS_INVALID");
    }
  }

  /** The server did not accept who we are: files may have changed. */
  forget(): void {
    this.#config = undefined;
  }
}

async function loadConfig(options: ClusterAccessOptions): Promise<KubeConfig> {
  // Half a second to load, so only where a cluster is really asked.
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  const { kubeconfig, context, podRoot = "" } = options;
  const isPod =
    process.env.KUBERNETES_SERVICE_HOST !== undefined &&
    existsSync(`${podRoot}${SERVICE_ACCOUNT_TOKEN}`);
  const files = kubeconfig === undefined ? userFiles() : [kubeconfig];
  if (kubeconfig !== undefined) config.loadFromFile(kubeconfig);
  else if (isPod && context === undefined) config.loadFromCluster(podRoot);
  else if (files.length > 0) config.loadFromDefault();
  else throw new Failure("KUBERNETES_ACCESS_INVALID", "there is no kubeconfig");
  addTokenFiles(config, files);
  if (context !== undefined) config.setCurrentContext(context);
  checkContext(config);
  return config;
}

/** The user's kubeconfigs, as kubectl looks for them; those that are there. */
function userFiles(): string[] {
  const named = process.env.KUBECONFIG?.split(delimiter).filter((path) => path !== "");
  if (named !== undefined && named.length > 0) return named;
  return [join(process.env.HOME ?? homedir(), ".kube", "config")].filter(existsSync);
}

function checkContext(config: KubeConfig): void {
  const name = config.getCurrentContext();
  const names = config.getContexts().map((context) => context.name);
  if (!names.includes(name)) {
    const which = name ? `there is no context ${name}` : "no context is chosen";
    const known = names.length === 0 ? "there are none" : `there are: ${names.join(", ")}`;
    throw new Failure("KUBERNETES_ACCESS_INVALID", `${which} in the kubeconfig; ${known}`);
  }
  if (config.getCurrentCluster() === null) {
    const detail = `the context ${name} names a cluster that the kubeconfig does not have`;
    throw new Failure("KUBERNETES_ACCESS_INVALID", detail);
  }
}

/** A user's `tokenFile`, which the library knows only in Pods. */
function addTokenFiles(config: KubeConfig, files: readonly string[]): void {
  for (const path of files) {
    const { users } = (parse(readFileSync(path, "utf8")) ?? {}) as KubeconfigFile;
    for (const { name, user } of users ?? []) {
      const known = config.getUser(name);
      if (known === null || user?.tokenFile === undefined) continue;
      const tokenFile = resolve(dirname(path), user.tokenFile);
      Object.assign(known, { authProvider: { name: "tokenFile", config: { tokenFile } } });
    }
  }
}

interface KubeconfigFile {
  readonly users?: readonly { readonly name: string; readonly user?: { tokenFile?: string } }[];
}
