/**
 * Path templates of AuthorizationPolicy: `{*}` is one whole, non-empty segment, `{**}` any number of
 * them, also none, but the "/" before it must be there. `{**}` is the last operator; literal text
 * may follow it (`/{**}/details`).
 */

/** Whether a path as written is a template rather than a plain string match. */
export function isPathTemplate(text: string): boolean {
  return text.includes("{*}") || text.includes("{**}");
}

export class PathTemplate {
  /** Literal texts with a `{*}` between each two. */
  readonly #literals: readonly string[];
  /** The text behind `{**}`; undefined: there is no `{**}`. */
  readonly #tail: string | undefined;

  constructor(template: string) {
    const glob = template.indexOf("{**}");
    const head = glob < 0 ? template : template.slice(0, glob);
    this.#literals = head.split("{*}");
    this.#tail = glob < 0 ? undefined : template.slice(glob + "{**}".length);
  }

  matches(path: string): boolean {
    const literals = this.#literals;
    let position = 0;
    for (let i = 0; i < literals.length; i++) {
      const literal = literals[i]!;
      if (i > 0) {
        const next = path.indexOf("/", position);
        const end = next < 0 ? path.length : next;
        if (end === position) return false;
        position = end;
      }
      if (!path.startsWith(literal, position)) return false;
      position += literal.length;
    }
    if (this.#tail === undefined) return position === path.length;
    return path.length - position >= this.#tail.length && path.endsWith(this.#tail);
  }
}
