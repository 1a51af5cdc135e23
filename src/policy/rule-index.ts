/**
 * Many rules, and the first that matches: without trying each.
 *
 * A rule is clauses (`from`, `to`, `when`), a clause is alternatives, an alternative is fields that
 * must all hold, and a field looks at one fact: the client's principal, the method, a header … For
 * each fact, and each value of it that has been seen, a bit set says which alternatives it leaves
 * standing. The sets of a request's facts, cut with one another, are what holds of them; the
 * first rule of which every clause has one matches. A value that is new costs one walk over the
 * fields that look at its fact, which is what every request would cost without. Requests that are
 * alike in all of these facts get the same answer, which is remembered.
 */
import type { CompiledRule } from "./compile-rules.ts";
import type { Matcher } from "./field-matchers.ts";
import type { Verdict } from "./verdict.ts";

/** Fewer rules are tried one after the other. */
const INDEXED_MIN = 64;
/** Values of one fact that are remembered. */
const VALUES_MAX = 256;
/** Answers that are remembered, and how long the values behind one may be, written down. */
const ANSWERS_MAX = 1_000;
const KEY_LENGTH_MAX = 1_000;
/** Neither stands in a value: no header, path or name has control characters. */
const BETWEEN = "\u0001";
const NO_VALUE = "\u0002";

export class RuleList<F> {
  readonly #rules: readonly CompiledRule<F>[];
  readonly #index: RuleIndex<F> | undefined;

  constructor(rules: readonly CompiledRule<F>[]) {
    this.#rules = rules;
    this.#index = rules.length < INDEXED_MIN ? undefined : new RuleIndex(rules);
  }

  /** The verdict of the first rule that matches. */
  first(facts: F): Verdict | undefined {
    if (this.#index !== undefined) return this.#index.first(facts);
    for (let i = 0; i < this.#rules.length; i++) {
      const rule = this.#rules[i]!;
      if (rule.matches(facts)) return rule.verdict;
    }
    return undefined;
  }
}

class RuleIndex<F> {
  readonly #rules: readonly CompiledRule<F>[];
  /** By alternative: its rule, and the bit of its clause. */
  readonly #ruleOf: Uint32Array;
  readonly #clauseOf: Uint8Array;
  /** By rule: the bits of all its clauses. */
  readonly #clauses: Uint8Array;
  readonly #facts: readonly FactIndex<F>[];
  /** Alternatives that still stand; one object for all requests. */
  readonly #left: Uint32Array;
  readonly #answers = new Map<string, Verdict | undefined>();

  constructor(rules: readonly CompiledRule<F>[]) {
    this.#rules = rules;
    const ruleOf: number[] = [];
    const clauseOf: number[] = [];
    const members = new Map<string, Member<F>[]>();
    this.#clauses = Uint8Array.from(rules, (rule, index) => {
      const given = clausesOf(rule);
      given.forEach((clause, number) => {
        for (const matchers of clause) {
          addMembers(members, matchers, ruleOf.length);
          ruleOf.push(index);
          clauseOf.push(1 << number);
        }
      });
      return (1 << given.length) - 1;
    });
    this.#ruleOf = Uint32Array.from(ruleOf);
    this.#clauseOf = Uint8Array.from(clauseOf);
    const words = (ruleOf.length + 31) >>> 5;
    this.#left = new Uint32Array(words);
    this.#facts = [...members.values()].map((found) => new FactIndex(found, words));
  }

  first(facts: F): Verdict | undefined {
    const key = this.#keyOf(facts);
    const known = this.#answers.get(key);
    if (known !== undefined || this.#answers.has(key)) return known;
    const found = this.#find(facts);
    if (key.length <= KEY_LENGTH_MAX) remember(this.#answers, key, found, ANSWERS_MAX);
    return found;
  }

  #keyOf(facts: F): string {
    let key = "";
    for (let i = 0; i < this.#facts.length; i++) {
      key += (this.#facts[i]!.look(facts) ?? NO_VALUE) + BETWEEN;
    }
    return key;
  }

  #find(facts: F): Verdict | undefined {
    const left = this.#left;
    left.fill(-1);
    for (let i = 0; i < this.#facts.length; i++) {
      const standing = this.#facts[i]!.standing(facts);
      for (let word = 0; word < left.length; word++) left[word]! &= standing[word]!;
    }
    return this.#firstWhole();
  }

  /** Alternatives of one rule stand together, so its clauses can be counted on the way. */
  #firstWhole(): Verdict | undefined {
    const left = this.#left;
    let rule = -1;
    let held = 0;
    for (let word = 0; word < left.length; word++) {
      for (let bits = left[word]!; bits !== 0; bits &= bits - 1) {
        const alternative = (word << 5) + (31 - Math.clz32(bits & -bits));
        if (alternative >= this.#ruleOf.length) return undefined;
        const own = this.#ruleOf[alternative]!;
        if (own !== rule) {
          rule = own;
          held = 0;
        }
        held |= this.#clauseOf[alternative]!;
        if (held === this.#clauses[rule]) return this.#rules[rule]!.verdict;
      }
    }
    return undefined;
  }
}

/** Those that may fail; of a rule that always matches one that always holds. */
function clausesOf<F>({ from, to, when }: CompiledRule<F>): readonly (typeof from)[] {
  const mayFail = [from, to, [when]].filter(
    (clause) => clause.length > 0 && clause.every((matchers) => matchers.length > 0),
  );
  return mayFail.length > 0 ? mayFail : [[[]]];
}

/** What of an alternative looks at the fact. */
interface Member<F> {
  readonly alternative: number;
  readonly matchers: Matcher<F>[];
}

function addMembers<F>(
  members: Map<string, Member<F>[]>,
  matchers: readonly Matcher<F>[],
  alternative: number,
): void {
  for (const matcher of matchers) {
    const own = members.get(matcher.fact) ?? [];
    members.set(matcher.fact, own);
    const last = own.at(-1);
    if (last?.alternative === alternative) last.matchers.push(matcher);
    else own.push({ alternative, matchers: [matcher] });
  }
}

class FactIndex<F> {
  readonly #members: readonly Member<F>[];
  readonly #words: number;
  /** Any of the matchers that look at it: they all see the same. */
  readonly #any: Matcher<F>;
  readonly #byValue = new Map<string | undefined, Uint32Array>();

  constructor(members: readonly Member<F>[], words: number) {
    this.#members = members;
    this.#words = words;
    this.#any = members[0]!.matchers[0]!;
  }

  look(facts: F): string | undefined {
    return this.#any.look(facts);
  }

  /** Alternatives that do not look at the fact, or hold of it. */
  standing(facts: F): Uint32Array {
    const value = this.look(facts);
    const known = this.#byValue.get(value);
    if (known !== undefined) return known;
    const bits = new Uint32Array(this.#words).fill(-1);
    for (const { alternative, matchers } of this.#members) {
      if (matchers.every((matcher) => matcher.matches(facts))) continue;
      bits[alternative >>> 5]! &= ~(1 << (alternative & 31));
    }
    remember(this.#byValue, value, bits, VALUES_MAX);
    return bits;
  }
}

/** The oldest makes room. */
function remember<K, V>(map: Map<K, V>, key: K, value: V, most: number): void {
  if (map.size >= most) map.delete(map.keys().next().value!);
  map.set(key, value);
}
