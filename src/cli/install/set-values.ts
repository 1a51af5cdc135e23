/**
 * What `--set` says, as Helm reads it: `a.b=c`, several with commas between, `a={x,y}`, `a[0]=x`.
 * `true`, `false`, `null` and whole numbers are what they look like; a backslash takes the meaning
 * from the character behind it.
 */
import { usageError } from "../command-error.ts";
import { ownValue, setOwn, type Values } from "./values.ts";

/** Lists that are given one by one are not longer. */
const INDEX_MAX = 1000;
const DEPTH_MAX = 30;

type Step = string | number;

/** The values, with what the text sets. Throws a usage error. */
export function withSet(values: Values, text: string): Values {
  const scanner = new Scanner(text);
  let changed: unknown = values;
  while (!scanner.isAtEnd) {
    const steps = scanner.steps();
    changed = placed(changed, steps, scanner.value());
  }
  return changed as Values;
}

function placed(before: unknown, [step, ...rest]: readonly Step[], value: unknown): unknown {
  if (step === undefined) return value;
  if (typeof step === "number") {
    const list: unknown[] = Array.isArray(before) ? [...before] : [];
    while (list.length < step) list.push(null);
    list[step] = placed(list[step], rest, value);
    return list;
  }
  const isMapping = typeof before === "object" && before !== null && !Array.isArray(before);
  const mapping: Values = isMapping ? { ...before } : {};
  setOwn(mapping, step, placed(ownValue(mapping, step), rest, value));
  return mapping;
}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  /** Up to the equals sign, and past it. */
  steps(): readonly Step[] {
    const steps: Step[] = [];
    for (;;) {
      const [key, stop] = this.#until(".[=,");
      if (key !== "") steps.push(key);
      else if (stop !== "[" || steps.length === 0) throw this.#wrong("a name is missing");
      let end = stop;
      while (end === "[") {
        steps.push(this.#index());
        end = this.#next();
      }
      if (steps.length > DEPTH_MAX) throw this.#wrong("it goes too deep");
      if (end === "=") return steps;
      if (end !== ".") throw this.#wrong(`${key} has no value`);
    }
  }

  /** Up to the comma, and past it. */
  value(): unknown {
    if (this.#text[this.#at] !== "{") return typed(this.#until(",")[0]);
    this.#at++;
    const list: unknown[] = [];
    for (;;) {
      const [text, stop] = this.#until(",}");
      if (stop === "") throw this.#wrong("a list does not end");
      if (text !== "" || stop === "," || list.length > 0) list.push(typed(text));
      if (stop !== "}") continue;
      const end = this.#next();
      if (end !== "," && end !== "") throw this.#wrong("something stands behind a list");
      return list;
    }
  }

  #index(): number {
    const [text] = this.#until("]");
    const index = Number(text);
    if (/^\d+$/.test(text) && index <= INDEX_MAX) return index;
    throw this.#wrong(`[${text}] is no index`);
  }

  #next(): string {
    return this.#text[this.#at++] ?? "";
  }

  /** Text without its backslashes, and which of the stops ended it; "" at the end. */
  #until(stops: string): readonly [text: string, stop: string] {
    let text = "";
    for (;;) {
      const character = this.#next();
      if (character === "" || stops.includes(character)) return [text, character];
      text += character === "\\" ? this.#next() : character;
    }
  }

  #wrong(why: string): Error {
    return usageError(`--set ${this.#text}: ${why}`, "Write it as NAME=VALUE, as for helm.");
  }
}

function typed(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  if (text === "null") return null;
  // A number with zeros in front is a text: it would come back as another one.
  if (/^(0|-?[1-9]\d*)$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  return text;
}
