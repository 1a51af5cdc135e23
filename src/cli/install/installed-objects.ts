/**
 * What is installed in a cluster: applied by server-side apply, found again, and removed.
 *
 * An object is ours when it has our label and our field manager's entry. What has neither is left
 * as it is, whatever its name: a conflict is said, and won only when that is asked for.
 */
import { isDeepStrictEqual } from "node:util";
import type { KubeObject } from "../../api/object.ts";
import {
  isRefusal,
  type KubeClient,
  type Refusal,
} from "../../control/source/kubernetes/kube-client.ts";
import { CommandError, EXIT_FAILED } from "../command-error.ts";
import { INSTALLATION_LABEL } from "./chart-names.ts";
import { collectionPath, describeObject, INSTALLED_KINDS, objectPath } from "./installed-kinds.ts";
import type { RenderedObject } from "./render.ts";

export const FIELD_MANAGER = "waystone-install";

const REQUEST_MS = 30_000;

export interface InstalledObjectsOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  /** Takes over fields that others have set. */
  readonly isForced: boolean;
  /** A line for each object. */
  readonly tell: (line: string) => void;
}

export class InstalledObjects {
  readonly #options: InstalledObjectsOptions;

  constructor(options: InstalledObjectsOptions) {
    this.#options = options;
  }

  /** Before anything is written: what would fail in the middle of it. */
  async check(): Promise<void> {
    const path = "/apis/gateway.networking.k8s.io/v1";
    const answer = await this.#options.client.get(path, {}, limit());
    if (!isRefusal(answer)) return;
    if (answer.status !== 404) throw refused("read", "the cluster", answer);
    throw new CommandError(
      EXIT_FAILED,
      "the cluster does not have the Gateway API's kinds",
      "Apply the standard-install.yaml of a release of the Gateway API, 1.3 or later, first.",
    );
  }

  async ensureNamespace(name: string): Promise<void> {
    const { client, tell } = this.#options;
    const found = await client.get(`/api/v1/namespaces/${name}`, {}, limit());
    if (!isRefusal(found)) return;
    const what = `Namespace ${name}`;
    if (found.status !== 404) throw refused("read", what, found);
    const object = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
    const query = { fieldManager: FIELD_MANAGER };
    const answer = await client.write("create", "/api/v1/namespaces", query, object, limit());
    if (isRefusal(answer) && answer.status !== 409) throw refused("create", what, answer);
    tell(`${what} created`);
  }

  async apply(objects: readonly RenderedObject[]): Promise<void> {
    for (const { object, isLeftToOthers } of objects) {
      const before = await this.#find(object);
      if (before !== undefined && isLeftToOthers && !isOurs(before)) this.#leave(object, before);
      else await this.#apply(object, before);
    }
  }

  /** All that `install` has applied, for whichever namespace. */
  async find(): Promise<readonly KubeObject[]> {
    const found: KubeObject[] = [];
    for (const kind of Object.keys(INSTALLED_KINDS)) {
      const query = { labelSelector: INSTALLATION_LABEL };
      const answer = await this.#options.client.get(collectionPath(kind), query, limit());
      if (isRefusal(answer)) {
        // The kind is not there, and so none of it.
        if (answer.status === 404) continue;
        throw refused("list", `${kind}s`, answer);
      }
      const { items } = answer.body as { readonly items?: readonly KubeObject[] | null };
      found.push(...(items ?? []).filter(isOurs).map((item) => ({ ...item, kind })));
    }
    return found;
  }

  async remove(objects: readonly KubeObject[]): Promise<void> {
    const { client, tell } = this.#options;
    for (const object of objects) {
      const body = { preconditions: { uid: object.metadata.uid } };
      const answer = await client.write("remove", objectPath(object), {}, body, limit());
      const isGone = isRefusal(answer) && (answer.status === 404 || answer.status === 409);
      if (isRefusal(answer) && !isGone) throw refused("delete", describeObject(object), answer);
      tell(`${describeObject(object)} removed`);
    }
  }

  #leave(object: KubeObject, before: KubeObject): void {
    const what = describeObject(object);
    const [wanted, found] = [controllerOf(object), controllerOf(before)];
    if (wanted !== found) {
      throw new CommandError(EXIT_FAILED, `${what} is of the controller ${found}, not ${wanted}`);
    }
    this.#options.tell(`${what} left as it is: somebody else has made it`);
  }

  async #apply(object: KubeObject, before: KubeObject | undefined): Promise<void> {
    const { client, isForced, tell } = this.#options;
    const what = describeObject(object);
    const query = { fieldManager: FIELD_MANAGER, force: String(isForced) };
    const answer = await client.write("apply", objectPath(object), query, object, limit());
    if (isRefusal(answer)) throw refused("apply", what, answer);
    const isSame = before !== undefined && isDeepStrictEqual(bare(before), bare(answer.body));
    tell(`${what} ${before === undefined ? "created" : isSame ? "unchanged" : "configured"}`);
  }

  async #find(object: KubeObject): Promise<KubeObject | undefined> {
    const answer = await this.#options.client.get(objectPath(object), {}, limit());
    if (!isRefusal(answer)) return answer.body as KubeObject;
    if (answer.status === 404) return undefined;
    throw refused("read", describeObject(object), answer);
  }
}

/** Where an object of an installation says that it belongs. */
export function installationOf({ metadata }: KubeObject): string {
  return metadata.labels?.[INSTALLATION_LABEL] ?? "";
}

function isOurs({ metadata }: KubeObject): boolean {
  const { managedFields } = metadata as {
    readonly managedFields?: readonly { readonly manager?: string; readonly operation?: string }[];
  };
  return !!managedFields?.some(
    ({ manager, operation }) => manager === FIELD_MANAGER && operation === "Apply",
  );
}

/** Of kinds with definitions the server counts a version also when an apply changes nothing. */
function bare(object: unknown): object {
  const { metadata, ...rest } = object as { readonly metadata: object };
  return { ...rest, metadata: { ...metadata, resourceVersion: "", managedFields: [] } };
}

function controllerOf({ spec }: KubeObject): string | undefined {
  return (spec as { controllerName?: string } | undefined)?.controllerName;
}

function limit(): AbortSignal {
  return AbortSignal.timeout(REQUEST_MS);
}

const HINTS: Readonly<Record<number, string>> = {
  401: "The API server does not know you: is the kubeconfig's login still good?",
  403: "Who installs needs the role cluster-admin, or one that may grant what is installed.",
  409:
    "Somebody else looks after these fields. Is another control plane there? Remove it first, or " +
    "take the fields over with --force-conflicts.",
};

function refused(verb: string, what: string, { status, message }: Refusal): CommandError {
  const text = `cannot ${verb} ${what}: ${message || `status ${status}`}`;
  return new CommandError(EXIT_FAILED, text, HINTS[status] ?? "");
}
