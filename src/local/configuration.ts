/**
 * The way of the configuration in the embedded mesh: files, what controllers would add, control
 * plane. The mesh runs on it; `waystone validate` only looks at what it says.
 */
import type { ObjectChange } from "../api/object.ts";
import { ControlPlane } from "../control/control-plane.ts";
import { FileSource } from "../control/source/files.ts";
import type { Diagnostic } from "../kit/diagnostic.ts";
import { Failure } from "../kit/failure.ts";
import { DEFAULT_SETTINGS } from "../model/settings.ts";
import type { AddressPlan } from "./addresses.ts";
import { Cluster } from "./cluster.ts";

/** What became of an edit. */
export interface Reload {
  readonly revision: number;
  /** False: the edit was refused, or says the same as before. */
  readonly isChange: boolean;
  readonly tookMs: number;
}

export class Configuration {
  readonly control = new ControlPlane({ enrolment: "label" });
  readonly #source: FileSource;
  readonly #cluster: Cluster;
  #listener: (reload: Reload) => void = () => {};

  constructor(paths: readonly string[], addresses: AddressPlan) {
    this.#source = new FileSource(paths);
    const { clusterDomain } = DEFAULT_SETTINGS;
    this.#cluster = new Cluster({ addresses, clusterDomain });
  }

  /**
   * Reads everything; edits are in force as they come from then on. False when the files cannot be
   * used: `diagnostics` says why. Returns the number of objects in the files.
   */
  async load(): Promise<number | false> {
    try {
      const { change } = await this.#source.start();
      this.#apply(change);
      this.#source.subscribe((next) => this.#listener(this.#apply(next)));
      return change.upserted.length;
    } catch (caught) {
      const isRefused = caught instanceof Failure && caught.code === "CONFIGURATION_INVALID";
      if (!isRefused || this.#source.diagnostics.length === 0) throw caught;
      return false;
    }
  }

  /** Calls back after each edit. */
  onReload(listener: (reload: Reload) => void): void {
    this.#listener = listener;
  }

  get diagnostics(): readonly Diagnostic[] {
    return [...this.#source.diagnostics, ...this.control.diagnostics];
  }

  close(): void {
    this.#source.close();
  }

  #apply(change: ObjectChange): Reload {
    const startMs = performance.now();
    this.control.apply(this.#cluster.apply(change));
    const isChange = change.upserted.length > 0 || change.removed.length > 0;
    const { revision } = this.control.current;
    return { revision, isChange, tookMs: performance.now() - startMs };
  }
}
