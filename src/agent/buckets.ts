/**
 * Values in groups, each group in the order of its values' names, as the control plane's own
 * collections have them; and which groups have changed since they were last looked at.
 */
export class Buckets<V> {
  readonly #members = new Map<string, Map<string, V>>();
  readonly #touched = new Set<string>();

  /** One value among several of a group, under its name; undefined takes it out. */
  set(group: string, name: string, value: V | undefined): void {
    this.#touched.add(group);
    let members = this.#members.get(group);
    if (value === undefined) {
      members?.delete(name);
      if (members?.size === 0) this.#members.delete(group);
      return;
    }
    if (members === undefined) {
      members = new Map();
      this.#members.set(group, members);
    }
    members.set(name, value);
  }

  /** A group's values in order; empty when there is no such group. */
  values(group: string): readonly V[] {
    const members = this.#members.get(group);
    if (members === undefined) return [];
    return [...members.keys()].sort().map((name) => members.get(name)!);
  }

  /** The groups that have changed, which are then forgotten. */
  takeTouched(): readonly string[] {
    const touched = [...this.#touched];
    this.#touched.clear();
    return touched;
  }
}
