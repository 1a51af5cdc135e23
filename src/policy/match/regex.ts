/**
 * RE2 expressions that must match the whole value, as Envoy has them. They run in linear time on
 * any input; most of those people write are literals with `.*` at an end, which need no engine.
 */
import { RE2JS } from "re2js";

export interface ValueMatcher {
  matches(value: string): boolean;
}

/** `undefined` when it is not RE2. */
export function compileRegex(pattern: string): ValueMatcher | undefined {
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(pattern);
  } catch {
    return undefined;
  }
  return compileSimple(pattern) ?? new Re2Matcher(compiled);
}

class Re2Matcher implements ValueMatcher {
  readonly #pattern: RE2JS;

  constructor(pattern: RE2JS) {
    this.#pattern = pattern;
  }

  matches(value: string): boolean {
    return this.#pattern.matches(value);
  }
}

/** `head.*tail`: what stands between is anything but a line end, which `.` does not match. */
class GlobMatcher implements ValueMatcher {
  readonly #head: string;
  readonly #tail: string;
  readonly #between: number;

  /** `between`: how many characters there must be at least (`.+`: one). */
  constructor(head: string, tail: string, between: number) {
    this.#head = head;
    this.#tail = tail;
    this.#between = between;
  }

  matches(value: string): boolean {
    const { length } = this.#head;
    const end = value.length - this.#tail.length;
    if (end - length < this.#between) return false;
    if (!value.startsWith(this.#head) || !value.endsWith(this.#tail)) return false;
    const lineEnd = value.indexOf("\n", length);
    return lineEnd < 0 || lineEnd >= end;
  }
}

/** Also the matcher of `Exact`. */
export class LiteralMatcher implements ValueMatcher {
  readonly value: string;

  constructor(value: string) {
    this.value = value;
  }

  matches(value: string): boolean {
    return value === this.value;
  }
}

const LITERAL = /^(?:[^\\.+*?()|[\]{}^$]|\\[-\\.+*?()|[\]{}^$/])*$/;

/** A pattern with nothing but literals and at most one `.*` or `.+`. */
function compileSimple(pattern: string): ValueMatcher | undefined {
  let text = pattern;
  if (text.startsWith("^")) text = text.slice(1);
  if (/(^|[^\\])(\\\\)*\$$/.test(text)) text = text.slice(0, -1);
  if (LITERAL.test(text)) return new LiteralMatcher(unescapeLiteral(text));
  const glob = /(?<!\\)(?:\\\\)*\.[*+]/.exec(text);
  if (!glob) return undefined;
  const operator = glob.index + glob[0].length - 2;
  const head = text.slice(0, operator);
  const tail = text.slice(operator + 2);
  // "?" behind makes it lazy, which does not change a whole match, but keep to what is plain.
  if (!LITERAL.test(head) || !LITERAL.test(tail)) return undefined;
  const between = text[operator + 1] === "+" ? 1 : 0;
  return new GlobMatcher(unescapeLiteral(head), unescapeLiteral(tail), between);
}

function unescapeLiteral(text: string): string {
  return text.replace(/\\(.)/gs, "$1");
}
