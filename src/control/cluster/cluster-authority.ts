/**
 * The mesh's CA in a cluster, followed: what stands in its Secret, and how far the mesh is on its
 * way there.
 *
 *     Secret cacerts │ istio-ca-secret ──> a step of the rotation ──> who signs, what is told
 *                       Secret waystone-ca ──┘      └──> kept for the other replicas
 */
import { isDeepStrictEqual } from "node:util";
import { jittered, pause } from "../../kit/backoff.ts";
import { type Logger, log } from "../../kit/log.ts";
import { MeshCertificateAuthority } from "../certificate-authority.ts";
import type { Root } from "../root-store.ts";
import type { CaSecret } from "./ca-secret.ts";
import {
  ROTATION_TIMINGS,
  type RotationState,
  type RotationTimings,
  rotated,
} from "./root-rotation.ts";
import type { RotationRecord } from "./rotation-record.ts";

export interface ClusterAuthorityOptions {
  readonly secret: Pick<CaSecret, "open" | "find">;
  readonly record: Pick<RotationRecord, "load" | "save">;
  readonly trustDomain: string;
  readonly timings?: RotationTimings;
  readonly lookMs?: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly logger?: Logger;
}

const LOOK_MS = 30_000;
/** So often another may be first. */
const SAVES_MAX = 5;

export class ClusterAuthority {
  readonly authority: MeshCertificateAuthority;
  readonly #options: ClusterAuthorityOptions;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  #found: Root;
  #state: RotationState;
  #toldTrouble = "";

  /**
   * Throws CONFIGURATION_INVALID when what is there cannot be used, KUBERNETES_UNAVAILABLE when it
   * cannot be asked for.
   */
  static async open(options: ClusterAuthorityOptions): Promise<ClusterAuthority> {
    const found = await options.secret.open(options.trustDomain);
    const state = await kept(options, found);
    const opened = new ClusterAuthority(options, found, state);
    void opened.#follow();
    return opened;
  }

  private constructor(options: ClusterAuthorityOptions, found: Root, state: RotationState) {
    this.#options = options;
    this.#log = options.logger ?? log("ca");
    this.#found = found;
    this.#state = state;
    this.authority = new MeshCertificateAuthority(state.signer, options.now);
    this.authority.use(state.signer, state.told);
    if (state.next !== undefined) this.#tell(state, undefined);
  }

  close(): void {
    this.#closing.abort();
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await pause(jittered(this.#options.lookMs ?? LOOK_MS), signal);
      if (signal.aborted) return;
      try {
        // One that was removed stays in force: others hang on it.
        this.#found = (await this.#options.secret.find()) ?? this.#found;
        this.#use(await kept(this.#options, this.#found));
        this.#toldTrouble = "";
      } catch (caught) {
        const { message } = caught as Error;
        const isNews = message !== this.#toldTrouble && !signal.aborted;
        this.#toldTrouble = message;
        const effect = "the CA in the cluster cannot be used; the one before stays in force";
        if (isNews) this.#log.error({ reason: message }, effect);
      }
    }
  }

  #use(read: RotationState): void {
    const before = this.#state;
    // What is read again is another object, and for the authority another CA.
    const isSame = isDeepStrictEqual(read.signer, before.signer);
    const state = isSame ? { ...read, signer: before.signer } : read;
    this.#state = state;
    if (!isSame || state.told !== before.told) this.authority.use(state.signer, state.told);
    this.#tell(state, before);
  }

  #tell(now: RotationState, before: RotationState | undefined): void {
    const { next, trimAtMs, signer } = now;
    if (next !== undefined && next.fingerprint !== before?.next?.fingerprint) {
      const signsAt = new Date(next.signsAtMs).toISOString();
      this.#log.warn({ signsAt }, "the CA changes: both roots are told, the old one signs");
    }
    if (before === undefined) return;
    if (signer.certificatePem !== before.signer.certificatePem) {
      const oldRootsUntil = trimAtMs && new Date(trimAtMs).toISOString();
      this.#log.warn({ oldRootsUntil }, "the CA has changed: the new one signs");
    }
    if (before.trimAtMs !== undefined && trimAtMs === undefined && next === undefined) {
      this.#log.info("the old CA's roots are told no more");
    }
  }
}

/** The state of now, which is kept. */
async function kept(options: ClusterAuthorityOptions, found: Root): Promise<RotationState> {
  const { record, timings = ROTATION_TIMINGS, now = Date.now } = options;
  for (let saves = 0; ; saves++) {
    const { state: before, version } = await record.load();
    const state = rotated(before, found, now(), timings);
    if (state === before || (await record.save(state, version))) return state;
    // Others write the same: whoever has not been first for so long takes what follows unsaved.
    if (saves === SAVES_MAX) return state;
  }
}
