/**
 * Which of the mesh's kinds this API server has, and in which version: those whose definitions are
 * not installed are not there. All kinds share one round of questions.
 */
import { KINDS, type Kind, type KindName } from "../../../api/kinds.ts";
import { jittered, pause } from "../../../kit/backoff.ts";
import { isRefusal, type KubeClient, type Refusal } from "./kube-client.ts";
import { WATCHED_KINDS } from "./watched-kinds.ts";

export interface ServedKind {
  readonly apiVersion: string;
  /** As objects spell it. */
  readonly kind: string;
  readonly group: string;
  /** The name in paths and in RBAC: `httproutes`. */
  readonly plural: string;
  readonly path: string;
}

type Found = ReadonlyMap<KindName, ServedKind>;

interface Round {
  readonly startMs: number;
  readonly found: Promise<Found | Refusal>;
}

export interface DiscoveryOptions {
  readonly client: KubeClient;
  /** Settings of the mesh are read in this namespace alone. */
  readonly rootNamespace: string;
  /** How long the answers of a round are good for those who ask next. */
  readonly roundMs: number;
  /** How long kinds that are missing wait for the next round. */
  readonly probeMs: number;
  readonly signal: AbortSignal;
}

export class Discovery {
  readonly #options: DiscoveryOptions;
  #round: Round | undefined;
  #waiting: Waiting | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
  }

  /**
   * Undefined: the server has said that there is no such kind. Throws KUBERNETES_UNAVAILABLE when
   * it says nothing.
   */
  async find(kind: KindName): Promise<ServedKind | undefined | Refusal> {
    const { roundMs } = this.#options;
    const nowMs = performance.now();
    if (this.#round === undefined || nowMs - this.#round.startMs > roundMs) {
      const round = { startMs: nowMs, found: this.#ask() };
      this.#round = round;
      const forget = () => {
        if (this.#round === round) this.#round = undefined;
      };
      round.found.then((found) => isRefusal(found) && forget(), forget);
    }
    const found = await this.#round.found;
    return isRefusal(found) ? found : found.get(kind);
  }

  /** What was found is not so any more. */
  forget(): void {
    this.#round = undefined;
  }

  /** Until it is time to look again: all missing kinds look together. */
  nextRound(): Promise<void> {
    this.#waiting ??= new Waiting(this.#options, () => {
      this.#waiting = undefined;
      this.forget();
    });
    return this.#waiting.over;
  }

  /** The next round is now. */
  wake(): void {
    this.#waiting?.end();
  }

  async #ask(): Promise<Found | Refusal> {
    const { client, signal } = this.#options;
    // While a server starts it may not know its own definitions yet.
    const unready = await client.unreadiness(signal);
    if (unready !== undefined) return unready;
    const answer = await client.get("/apis", {}, signal);
    if (isRefusal(answer)) return answer;
    const { groups } = answer.body as { readonly groups: readonly ApiGroup[] };
    const served = new Set(groups.flatMap((g) => g.versions.map((v) => v.groupVersion)));
    served.add("v1");
    const wanted = new Set(WATCHED_KINDS.flatMap(versionsOf));
    const resources = new Map<string, ServedKind>();
    for (const apiVersion of wanted) {
      if (!served.has(apiVersion)) continue;
      const found = await this.#resourcesOf(apiVersion);
      if (isRefusal(found)) return found;
      for (const one of found) resources.set(`${apiVersion}/${one.kind}`, one);
    }
    const kinds = new Map<KindName, ServedKind>();
    for (const kind of WATCHED_KINDS) {
      const { spelling = kind }: Kind = KINDS[kind];
      const versions = versionsOf(kind).map((version) => resources.get(`${version}/${spelling}`));
      const preferred = versions.find((version) => version !== undefined);
      if (preferred !== undefined) kinds.set(kind, this.#located(kind, preferred));
    }
    return kinds;
  }

  async #resourcesOf(apiVersion: string): Promise<readonly ServedKind[] | Refusal> {
    const { client, signal } = this.#options;
    const [group, version] = apiVersion.split("/") as [string, string | undefined];
    const base = version === undefined ? `/api/${apiVersion}` : `/apis/${apiVersion}`;
    const answer = await client.get(base, {}, signal);
    // Its definitions were removed since the groups were listed.
    if (isRefusal(answer)) return answer.status === 404 ? [] : answer;
    const { resources } = answer.body as { readonly resources: readonly ApiResource[] };
    return resources
      .filter(({ name }) => !name.includes("/"))
      .map(({ name, kind }) => ({
        apiVersion,
        kind,
        group: version === undefined ? "" : group,
        plural: name,
        path: `${base}/${name}`,
      }));
  }

  #located(kind: KindName, served: ServedKind): ServedKind {
    if (kind !== "ConfigMap") return served;
    const { rootNamespace } = this.#options;
    return { ...served, path: `/api/v1/namespaces/${rootNamespace}/${served.plural}` };
  }
}

/** A pause that many share, and that can be ended. */
class Waiting {
  readonly over: Promise<void>;
  readonly #ending = new AbortController();

  constructor({ probeMs, signal }: DiscoveryOptions, onOver: () => void) {
    const end = () => this.end();
    signal.addEventListener("abort", end);
    this.over = pause(jittered(probeMs), this.#ending.signal).then(() => {
      signal.removeEventListener("abort", end);
      onOver();
    });
    if (signal.aborted) end();
  }

  end(): void {
    this.#ending.abort();
  }
}

interface ApiGroup {
  readonly versions: readonly { readonly groupVersion: string }[];
}

interface ApiResource {
  readonly name: string;
  readonly kind: string;
}

/** Preferred first. */
function versionsOf(kind: KindName): string[] {
  const { group, versions }: Kind = KINDS[kind];
  return versions.map((version) => (group === "" ? version : `${group}/${version}`));
}
