/** Which headers pass, by name: exactly, by prefix (`x-*`) or by suffix (`*-id`). */
export interface HeaderNames {
  /** `name`: in lower case. */
  has(name: string): boolean;
}

export const ALL_NAMES: HeaderNames = { has: () => true };
export const NO_NAMES: HeaderNames = { has: () => false };

class NamePatterns implements HeaderNames {
  readonly #exact = new Set<string>();
  readonly #prefixes: string[] = [];
  readonly #suffixes: string[] = [];

  constructor(patterns: readonly string[]) {
    for (const pattern of patterns) {
      const text = pattern.toLowerCase();
      if (text.startsWith("*")) this.#suffixes.push(text.slice(1));
      else if (text.endsWith("*")) this.#prefixes.push(text.slice(0, -1));
      else this.#exact.add(text);
    }
  }

  has(name: string): boolean {
    return (
      this.#exact.has(name) ||
      this.#prefixes.some((prefix) => name.startsWith(prefix)) ||
      this.#suffixes.some((suffix) => name.endsWith(suffix))
    );
  }
}

/** None: no header passes. */
export function namesIn(patterns: readonly string[]): HeaderNames {
  return patterns.length === 0 ? NO_NAMES : new NamePatterns(patterns);
}
