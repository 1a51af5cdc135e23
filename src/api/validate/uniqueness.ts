/** What may stand in a list only once. */
import type { FieldPath } from "../object.ts";
import { type Problems, problem } from "./problem.ts";

/**
 * A problem for each item whose key an earlier one has. `key` tells undefined for an item that
 * has none, and so is like no other.
 */
export function* unique<T>(
  items: readonly T[] | undefined,
  path: FieldPath,
  key: (item: T) => string | undefined,
  what: (key: string) => string,
  field: FieldPath = [],
): Problems {
  const seen = new Map<string, number>();
  for (const [i, item] of (items ?? []).entries()) {
    const own = key(item);
    if (own === undefined) continue;
    const first = seen.get(own);
    if (first === undefined) seen.set(own, i);
    else yield problem([...path, i, ...field], `${what(own)} stands in item ${first} already`);
  }
}

/** Texts of a set. */
export function* uniqueTexts(texts: readonly string[] | undefined, path: FieldPath): Problems {
  yield* unique(
    texts,
    path,
    (text) => text,
    (text) => JSON.stringify(text),
  );
}
