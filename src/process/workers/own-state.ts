/**
 * The mesh as the parent of workers sees it, for what it serves itself: DNS. To the relay it is one
 * more worker, which answers at once, so it never has another revision than they have.
 *
 * Only made where it is needed: a parent decodes nothing otherwise (DESIGN D13).
 */
import { MeshState } from "../../agent/mesh-state.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { ResourceType, RevisionStamp } from "../../wire/resource.ts";
import { type PackedResources, unpackResources } from "./packed-resources.ts";
import type { RelayWorker, ResourceRelay } from "./resource-relay.ts";

const AGAIN_MS = 1_000;

export class OwnState implements RelayWorker {
  readonly #relay: ResourceRelay;
  #state = new MeshState();
  #current: Snapshot = this.#state.current;

  private constructor(relay: ResourceRelay) {
    this.#relay = relay;
  }

  static join(relay: ResourceRelay): OwnState {
    const own = new OwnState(relay);
    void relay.join(own);
    return own;
  }

  get current(): Snapshot {
    return this.#current;
  }

  async stage(
    type: ResourceType,
    upserted: PackedResources,
    removed: readonly string[],
  ): Promise<readonly string[]> {
    return this.#state.stage(type, unpackResources(type, upserted), removed);
  }

  async commit(revision: RevisionStamp): Promise<{ readonly refusal: string | undefined }> {
    const refusal = this.#state.commit(revision);
    if (refusal === undefined) this.#current = this.#state.current;
    return { refusal };
  }

  /** As a worker that is replaced, not at once; what was in force serves meanwhile. */
  dismiss(): void {
    this.#state = new MeshState();
    setTimeout(() => void this.#relay.join(this), AGAIN_MS).unref();
  }
}
