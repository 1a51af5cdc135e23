/**
 * String matches as Istio has them: exact, prefix, suffix, presence, and path templates.
 *
 * `matchesString` judges one; `StringSet` is the same for many at once, with the exact ones in a
 * hash set, for the proxies. An absent value (undefined) matches nothing.
 */
import type { StringMatch } from "../../model/rule.ts";
import { PathTemplate } from "./path-template.ts";

export function matchesString(match: StringMatch, value: string | undefined): boolean {
  if (value === undefined) return false;
  switch (match.type) {
    case "exact":
      return value === match.value;
    case "prefix":
      return value.startsWith(match.value);
    case "suffix":
      return value.endsWith(match.value);
    case "presence":
      return value !== "";
    case "template":
      return new PathTemplate(match.value).matches(value);
  }
}

/** As it is written in a policy. */
export function formatStringMatch(match: StringMatch): string {
  if (match.type === "presence") return "*";
  if (match.type === "prefix") return `${match.value}*`;
  return match.type === "suffix" ? `*${match.value}` : match.value;
}

export class StringSet {
  readonly isEmpty: boolean;
  readonly hasPresence: boolean;
  readonly #exact = new Set<string>();
  readonly #prefixes: string[] = [];
  readonly #suffixes: string[] = [];
  readonly #templates: PathTemplate[] = [];

  constructor(matches: readonly StringMatch[]) {
    this.isEmpty = matches.length === 0;
    this.hasPresence = matches.some((match) => match.type === "presence");
    for (const match of matches) {
      if (match.type === "exact") this.#exact.add(match.value);
      else if (match.type === "prefix") this.#prefixes.push(match.value);
      else if (match.type === "suffix") this.#suffixes.push(match.value);
      else if (match.type === "template") this.#templates.push(new PathTemplate(match.value));
    }
  }

  matches(value: string | undefined): boolean {
    if (value === undefined || this.isEmpty) return false;
    if (this.hasPresence && value !== "") return true;
    if (this.#exact.size > 0 && this.#exact.has(value)) return true;
    for (let i = 0; i < this.#prefixes.length; i++) {
      if (value.startsWith(this.#prefixes[i]!)) return true;
    }
    for (let i = 0; i < this.#suffixes.length; i++) {
      if (value.endsWith(this.#suffixes[i]!)) return true;
    }
    for (let i = 0; i < this.#templates.length; i++) {
      if (this.#templates[i]!.matches(value)) return true;
    }
    return false;
  }
}
