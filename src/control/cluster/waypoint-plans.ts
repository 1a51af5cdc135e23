/**
 * Which objects each of our Gateways wants in the cluster: its plan, with the overlays as they are
 * now. Overlays are ConfigMaps of anybody's namespace: they are asked for by name, not watched.
 */
import type { Gateway } from "../../api/gateway.ts";
import type { KindName } from "../../api/kinds.ts";
import type { KubeObject } from "../../api/object.ts";
import { Failure } from "../../kit/failure.ts";
import { type Overlay, waypointObjects } from "../../translate/provision/waypoint-objects.ts";
import type { WaypointSettings } from "../../translate/provision/waypoint-settings.ts";
import type { ControlPlane } from "../control-plane.ts";
import { isRefusal, type KubeClient, type Refusal } from "../source/kubernetes/kube-client.ts";
import type { ClusterMode } from "./cluster-mode.ts";

export interface WaypointPlansOptions {
  readonly client: Pick<KubeClient, "get">;
  readonly control: Pick<ControlPlane, "object" | "objects" | "current">;
  readonly mode: ClusterMode;
  readonly settings: WaypointSettings;
}

const CLASS_DEFAULTS_LABEL = "gateway.istio.io/defaults-for-class";
const REVISION_LABEL = "istio.io/rev";
const REQUEST_MS = 10_000;
/** Many Gateways are looked at together. */
const CLASS_DEFAULTS_MS = 2_000;

type Read<T> = { readonly found: T } | { readonly invalid: string };

export class WaypointPlans {
  readonly #options: WaypointPlansOptions;
  /** By Gateway: what is wrong with its parameters. */
  readonly #invalid = new Map<string, string>();
  /** By Gateway: what the server does not take of its objects. */
  readonly #refused = new Map<string, string>();
  readonly #listeners = new Set<(kind: KindName, key: string) => void>();
  #defaults: { readonly atMs: number; readonly overlays: Promise<readonly Overlay[]> } | undefined;

  constructor(options: WaypointPlansOptions) {
    this.#options = options;
  }

  /** Gateways of our class and revision. */
  isOurs({ metadata, spec }: Gateway): boolean {
    const { mode, settings, control } = this.#options;
    if (spec.gatewayClassName !== mode.className) return false;
    // Beside istiod revisions are its own; the class is ours alone.
    if (mode.name === "beside") return true;
    const wanted =
      metadata.labels?.[REVISION_LABEL] ??
      control.object<KubeObject>("Namespace", metadata.namespace ?? "default")?.value.metadata
        .labels?.[REVISION_LABEL] ??
      "default";
    return wanted === (settings.revision ?? "default");
  }

  get gateways(): readonly string[] {
    const all = [...this.#options.control.objects<Gateway>("Gateway")];
    return all.filter(([, { value }]) => this.isOurs(value)).map(([key]) => key);
  }

  /** Of a Gateway's last plan, and of what the server said to it. */
  invalidParameters(key: string): string | undefined {
    return this.#invalid.get(key) ?? this.#refused.get(key);
  }

  /** The server does not take an object of the plan; undefined: it has taken all. */
  refused(key: string, reason: string | undefined): void {
    this.#noteIn(this.#refused, key, reason);
  }

  /** Calls back with Gateways whose parameters are invalid now, or are so no more. */
  subscribe(listener: (kind: KindName, key: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Undefined: the objects are left as they are: the Gateway is not ours or going, has addresses of
   * somebody's own, or parameters that cannot be used. Throws KUBERNETES_UNAVAILABLE.
   */
  async plan(key: string): Promise<readonly KubeObject[] | undefined> {
    const { control, mode, settings } = this.#options;
    const gateway = control.object<Gateway>("Gateway", key)?.value;
    const isManaged =
      gateway !== undefined &&
      this.isOurs(gateway) &&
      !gateway.metadata.deletionTimestamp &&
      (gateway.spec.addresses ?? []).length === 0;
    if (!isManaged) {
      this.#note(key, undefined);
      return undefined;
    }
    const own = await this.#overlayOf(gateway);
    if ("invalid" in own) {
      this.#note(key, own.invalid);
      return undefined;
    }
    const overlays = [...(await this.#classDefaults()), ...own.found];
    const plan = waypointObjects(gateway, mode, settings, overlays);
    this.#note(key, "invalid" in plan ? plan.invalid : undefined);
    return "invalid" in plan ? undefined : plan.objects;
  }

  #note(key: string, invalid: string | undefined): void {
    this.#noteIn(this.#invalid, key, invalid);
  }

  #noteIn(notes: Map<string, string>, key: string, text: string | undefined): void {
    if (notes.get(key) === text) return;
    if (text === undefined) notes.delete(key);
    else notes.set(key, text);
    for (const listener of [...this.#listeners]) listener("Gateway", key);
  }

  async #overlayOf({ metadata, spec }: Gateway): Promise<Read<readonly Overlay[]>> {
    const reference = spec.infrastructure?.parametersRef;
    if (reference === undefined) return { found: [] };
    const { group, kind, name } = reference;
    if (kind !== "ConfigMap" || (group !== "" && group !== "core")) {
      return { invalid: `parametersRef is ${kind} "${name}": only a ConfigMap can be one` };
    }
    const full = `${metadata.namespace}/${name}`;
    const path = `/api/v1/namespaces/${metadata.namespace}/configmaps/${encodeURIComponent(name)}`;
    const answer = await this.#get(path);
    if (!isRefusal(answer)) return { found: [overlayFrom(answer.body)] };
    if (answer.status === 404) return { invalid: `ConfigMap ${full} was not found` };
    if (answer.status === 403) return { invalid: `ConfigMap ${full} may not be read` };
    throw unavailable(answer);
  }

  /** Of the root namespace; of several, the oldest. */
  async #classDefaults(): Promise<readonly Overlay[]> {
    const nowMs = performance.now();
    if (this.#defaults === undefined || nowMs - this.#defaults.atMs > CLASS_DEFAULTS_MS) {
      const overlays = this.#readClassDefaults();
      const defaults = { atMs: nowMs, overlays };
      this.#defaults = defaults;
      overlays.catch(() => {
        if (this.#defaults === defaults) this.#defaults = undefined;
      });
    }
    return await this.#defaults.overlays;
  }

  async #readClassDefaults(): Promise<readonly Overlay[]> {
    const { control, mode } = this.#options;
    const { rootNamespace } = control.current.settings;
    const labelSelector = `${CLASS_DEFAULTS_LABEL}=${mode.className}`;
    const answer = await this.#get(`/api/v1/namespaces/${rootNamespace}/configmaps`, {
      labelSelector,
    });
    if (isRefusal(answer)) {
      if (answer.status === 403) return [];
      throw unavailable(answer);
    }
    const { items } = answer.body as { readonly items?: readonly KubeObject[] | null };
    const [oldest] = (items ?? []).toSorted((a, b) => (ageOf(a) < ageOf(b) ? -1 : 1));
    return oldest === undefined ? [] : [overlayFrom(oldest)];
  }

  #get(path: string, query = {}): ReturnType<KubeClient["get"]> {
    return this.#options.client.get(path, query, AbortSignal.timeout(REQUEST_MS));
  }
}

function overlayFrom(body: unknown): Overlay {
  const { metadata, data } = body as KubeObject;
  const name = `${metadata.namespace}/${metadata.name}`;
  return { name, data: (data ?? {}) as Overlay["data"] };
}

function ageOf({ metadata }: KubeObject): string {
  return `${metadata.creationTimestamp} ${metadata.name}`;
}

function unavailable({ status, message }: Refusal): Failure {
  return new Failure("KUBERNETES_UNAVAILABLE", `${status} ${message}`);
}
