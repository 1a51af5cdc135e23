/**
 * The way of the configuration: reading it from files or from a Kubernetes API server, what
 * controllers would add where there are none (`expand`), control plane. The embedded mesh and the
 * control-plane process run on it; `waystone validate` only looks at what it says.
 */
import type { ObjectChange } from "../api/object.ts";
import { type Diagnostic, isRefusing } from "../kit/diagnostic.ts";
import { Failure } from "../kit/failure.ts";
import { ControlPlane } from "./control-plane.ts";
import { FileSource } from "./source/files.ts";
import type { ObjectSource } from "./source/object-source.ts";

/** What became of an edit. */
export interface Reload {
  readonly revision: number;
  /** False: the edit was refused, or says the same as before. */
  readonly isChange: boolean;
  readonly tookMs: number;
}

export type ConfigurationEvent =
  /** The objects have changed. */
  | ({ readonly kind: "reloaded" } & Reload)
  /** What is wrong now; told when it is something else than before. */
  | { readonly kind: "diagnostics"; readonly diagnostics: readonly Diagnostic[] };

export class Configuration {
  readonly control: ControlPlane;
  readonly #source: ObjectSource;
  readonly #expand: (change: ObjectChange) => ObjectChange;
  #listener: (reload: Reload) => void = () => {};

  /** Of files, given by their paths, or of another source. */
  constructor(
    from: readonly string[] | ObjectSource,
    expand: (change: ObjectChange) => ObjectChange = (change) => change,
  ) {
    const isFiles = "length" in from;
    this.#source = isFiles ? new FileSource(from) : from;
    // On Kubernetes a node's CNI says which Pods it has enrolled; beside files nobody does.
    this.control = new ControlPlane({ enrolment: isFiles ? "label" : "annotation" });
    this.#expand = expand;
  }

  /**
   * Reads everything; edits are in force as they come from then on. False when the files cannot be
   * used: `diagnostics` says why. Returns the number of objects. Waits for an API server that is
   * away, until `close()`.
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

  /** Throws CONFIGURATION_INVALID when the files cannot be used, after `tell` has heard why. */
  async loadOrRefuse(tell: (diagnostics: readonly Diagnostic[]) => void): Promise<void> {
    if ((await this.load()) !== false) return;
    const { diagnostics } = this;
    tell(diagnostics);
    const errors = diagnostics.filter(isRefusing).length;
    const detail = `the configuration has ${errors === 1 ? "an error" : `${errors} errors`}`;
    throw new Failure("CONFIGURATION_INVALID", detail);
  }

  /**
   * Lays other files over those that are loaded, once and without watching them: their objects take
   * the place of those of the same kind, namespace and name, as `kubectl apply` has it. False when
   * they cannot be used; then nothing has changed, and the diagnostics returned say why.
   */
  async overlay(
    paths: readonly string[],
  ): Promise<{ readonly isUsable: boolean; readonly diagnostics: readonly Diagnostic[] }> {
    const source = new FileSource(paths);
    try {
      const { change } = await source.start();
      this.#apply(change);
      return { isUsable: true, diagnostics: source.diagnostics };
    } catch (caught) {
      const isRefused = caught instanceof Failure && caught.code === "CONFIGURATION_INVALID";
      if (!isRefused || source.diagnostics.length === 0) throw caught;
      return { isUsable: false, diagnostics: source.diagnostics };
    } finally {
      source.close();
    }
  }

  /** Calls back after each edit. */
  onReload(listener: (reload: Reload) => void): void {
    this.#listener = listener;
  }

  /** Where the whole mesh shows what is wrong, what the object alone shows is not said again. */
  get diagnostics(): readonly Diagnostic[] {
    const { diagnostics } = this.control;
    const places = new Set(diagnostics.map(({ object, path }) => `${object} ${path}`));
    const read = this.#source.diagnostics.filter((found) => {
      return isRefusing(found) || !places.has(`${found.object} ${found.path}`);
    });
    return [...read, ...diagnostics];
  }

  close(): void {
    this.#source.close();
  }

  #apply(change: ObjectChange): Reload {
    const startMs = performance.now();
    this.control.apply(this.#expand(change));
    const isChange = change.upserted.length > 0 || change.removed.length > 0;
    const { revision } = this.control.current;
    return { revision, isChange, tookMs: performance.now() - startMs };
  }
}
