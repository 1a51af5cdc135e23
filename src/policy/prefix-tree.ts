/**
 * Path prefixes that end where an element of the path does, as a radix tree: looking takes as long
 * as the path is, however many there are.
 */

/** A node: `label` is what it adds to its parent's text. */
class PrefixNode<V> {
  label: string;
  value: V | undefined;
  /** By the first character code of their labels. */
  readonly children = new Map<number, PrefixNode<V>>();

  constructor(label: string, value: V | undefined) {
    this.label = label;
    this.value = value;
  }

  insert(text: string, value: V): void {
    if (text === "") {
      this.value = value;
      return;
    }
    const child = this.children.get(text.charCodeAt(0));
    if (child === undefined) {
      this.children.set(text.charCodeAt(0), new PrefixNode(text, value));
      return;
    }
    let common = 1;
    while (common < child.label.length && child.label[common] === text[common]) common++;
    if (common === child.label.length) {
      child.insert(text.slice(common), value);
      return;
    }
    const fork = new PrefixNode<V>(child.label.slice(0, common), undefined);
    child.label = child.label.slice(common);
    fork.children.set(child.label.charCodeAt(0), child);
    this.children.set(text.charCodeAt(0), fork);
    fork.insert(text.slice(common), value);
  }
}

const SLASH = 0x2f;

export class PrefixTree<V> {
  readonly #root = new PrefixNode<V>("", undefined);

  /** `prefix` is without the "/" at its end: `/` itself is "". */
  insert(prefix: string, value: V): void {
    this.#root.insert(prefix, value);
  }

  /** What was inserted for the longest prefix of the path. */
  find(path: string): V | undefined {
    let node = this.#root;
    let position = 0;
    let found: V | undefined;
    for (;;) {
      if (
        node.value !== undefined &&
        (position === path.length || path.charCodeAt(position) === SLASH)
      ) {
        found = node.value;
      }
      const child = node.children.get(path.charCodeAt(position));
      if (child === undefined || !path.startsWith(child.label, position)) return found;
      position += child.label.length;
      node = child;
    }
  }
}
