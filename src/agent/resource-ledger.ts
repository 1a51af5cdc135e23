/** Which resources are held, by type, name and version, and what all of them amount to. */
import { ResourceDigest } from "../wire/digest.ts";
import type { ResourceType } from "../wire/resource.ts";

export class ResourceLedger {
  readonly #versions = new Map<ResourceType, Map<string, string>>();
  #digest = new ResourceDigest();

  /** Name → version. */
  of(type: ResourceType): ReadonlyMap<string, string> {
    return this.#versions.get(type) ?? new Map();
  }

  get digest(): string {
    return this.#digest.toString();
  }

  /** Undefined: it is not there. */
  set(type: ResourceType, name: string, version: string | undefined): void {
    let versions = this.#versions.get(type);
    if (versions === undefined) {
      versions = new Map();
      this.#versions.set(type, versions);
    }
    const before = versions.get(name);
    if (before !== undefined) this.#digest.remove(type, name, before);
    if (version === undefined) versions.delete(name);
    else {
      versions.set(name, version);
      this.#digest.add(type, name, version);
    }
  }

  clear(): void {
    this.#versions.clear();
    this.#digest = new ResourceDigest();
  }
}
