/** One match of one rule, compiled: all but its path, which decides where it is looked for. */
import type { ValueMatch } from "../model/route.ts";
import type { HttpFacts } from "./facts.ts";
import { queryParameter } from "./match/query.ts";
import { compileRegex, LiteralMatcher, type ValueMatcher } from "./match/regex.ts";
import type { RouteCandidate } from "./route-order.ts";
import type { RouteChoice } from "./verdict.ts";

interface NamedMatcher {
  readonly name: string;
  readonly value: ValueMatcher;
}

export class CompiledCandidate {
  readonly choice: RouteChoice;
  /** Its place in the order in which candidates are tried. */
  readonly rank: number;
  readonly #method: string | undefined;
  readonly #headers: readonly NamedMatcher[];
  readonly #query: readonly NamedMatcher[];

  constructor(candidate: RouteCandidate, choice: RouteChoice, rank: number) {
    this.choice = choice;
    this.rank = rank;
    this.#method = candidate.match.method;
    this.#headers = candidate.match.headers.map(compileValue);
    this.#query = candidate.match.queryParams.map(compileValue);
  }

  matches(facts: HttpFacts): boolean {
    if (this.#method !== undefined && facts.method !== this.#method) return false;
    for (let i = 0; i < this.#headers.length; i++) {
      const { name, value } = this.#headers[i]!;
      const seen = facts.header(name);
      if (seen === undefined || !value.matches(seen)) return false;
    }
    for (let i = 0; i < this.#query.length; i++) {
      const { name, value } = this.#query[i]!;
      const seen = queryParameter(facts.query, name);
      if (seen === undefined || !value.matches(seen)) return false;
    }
    return true;
  }
}

function compileValue(match: ValueMatch): NamedMatcher {
  return { name: match.name, value: compilePattern(match.type, match.value) };
}

export function compilePattern(type: "Exact" | "RegularExpression", value: string): ValueMatcher {
  const literal = new LiteralMatcher(value);
  // candidatesOf() has dropped the rules whose expressions do not compile.
  return type === "Exact" ? literal : (compileRegex(value) ?? literal);
}

export function firstOf(
  candidates: readonly CompiledCandidate[],
  facts: HttpFacts,
): CompiledCandidate | undefined {
  for (let i = 0; i < candidates.length; i++) {
    const candidate = candidates[i]!;
    if (candidate.matches(facts)) return candidate;
  }
  return undefined;
}

/** Adds to the list of that key. */
export function addTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}
