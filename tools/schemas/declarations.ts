/**
 * Which fields there are, read from the type declarations of the @kubernetes-models packages. The
 * values that a field takes are in validators.ts; a field that takes any value is only here.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Schema } from "./validators.ts";

/** A field's structure: which fields it has, nothing about its value. */
export interface Shape {
  readonly fields?: ReadonlyMap<string, Shape>;
  readonly items?: Shape;
  /** Of a map. */
  readonly values?: Shape;
  /** Given beforehand, as a whole. */
  readonly schema?: Schema;
}

const LEAF: Shape = {};

export class Declarations {
  readonly #modules: string;
  readonly #given: readonly (readonly [RegExp, Schema])[];

  /** `given`: types whose schema is not taken from the packages. */
  constructor(modules: string, given: readonly (readonly [RegExp, Schema])[]) {
    this.#modules = modules;
    this.#given = given;
  }

  shapeOf(file: string, name: string, seen: readonly string[] = []): Shape {
    for (const [pattern, schema] of this.#given) if (pattern.test(name)) return { schema };
    const key = `${file}#${name}`;
    if (seen.includes(key)) return LEAF;
    const text = readFileSync(file, "utf8");
    const exports = text.slice(text.lastIndexOf("export type {"));
    const local = new RegExp(`(\\w+) as ${name}\\b`).exec(exports)?.[1] ?? name;
    const resolve = (other: string): Shape => {
      const imports = new RegExp(`import \\{[^}]*\\b${other}\\b[^}]*\\} from "([^"]+)"`);
      const from = imports.exec(text)?.[1];
      const at = from === undefined ? file : this.#locate(from, file);
      return this.shapeOf(at, other, [...seen, key]);
    };
    const interfaces = new RegExp(`export interface ${local}(?: extends ([\\w, ]+))? \\{`);
    const declared = interfaces.exec(text);
    if (declared !== null) {
      const own = new Parser(text, declared.index + declared[0].length, resolve).object();
      const bases = (declared[1] ?? "").split(",").map((base) => base.trim());
      return bases
        .filter((b) => b !== "" && b !== "TypeMeta")
        .map(resolve)
        .reduce(merge, own);
    }
    const aliased = new RegExp(`export (?:declare )?type ${local} = `).exec(text);
    if (aliased === null) throw new Error(`no ${local} in ${file}`);
    return new Parser(text, aliased.index + aliased[0].length, resolve).type();
  }

  #locate(from: string, file: string): string {
    const base = join(from.startsWith(".") ? dirname(file) : this.#modules, from);
    const path = base.replace(/\.js$/, "");
    const found = [`${path}.d.ts`, join(path, "index.d.ts")].find((p) => existsSync(p));
    if (found === undefined) throw new Error(`${from}, imported by ${file}`);
    return found;
  }
}

/** A structure with the fields of both. */
function merge(one: Shape, other: Shape): Shape {
  if (one.fields === undefined || other.fields === undefined) {
    return one.fields === undefined && one.values === undefined ? other : one;
  }
  return { ...other, ...one, fields: new Map([...other.fields, ...one.fields]) };
}

/** The subset of TypeScript that the packages' declarations use. */
class Parser {
  readonly #text: string;
  readonly #resolve: (name: string) => Shape;
  #at: number;

  constructor(text: string, at: number, resolve: (name: string) => Shape) {
    this.#text = text;
    this.#at = at;
    this.#resolve = resolve;
  }

  /** Behind the opening brace. */
  object(): Shape {
    const fields = new Map<string, Shape>();
    let values: Shape | undefined;
    while (!this.#take("}")) {
      if (this.#take("[")) {
        this.#match(/\w+\s*:\s*\w+\s*\]/y);
        this.#expect(":");
        values = this.type();
      } else {
        const name = this.#match(/"[^"]+"|\w+/y)!.replaceAll('"', "");
        this.#take("?");
        this.#expect(":");
        fields.set(name, this.type());
      }
      this.#take(";");
    }
    return { fields, ...(values === undefined ? {} : { values }) };
  }

  type(): Shape {
    let shape = this.#single();
    while (this.#take("|")) shape = merge(shape, this.#single());
    return shape;
  }

  #single(): Shape {
    let shape: Shape;
    if (this.#match(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?/y) !== undefined) shape = LEAF;
    else if (this.#take("{")) shape = this.object();
    else if (this.#take("(")) {
      shape = this.type();
      this.#expect(")");
    } else shape = this.#named(this.#match(/[\w.]+/y)!);
    while (this.#take("[]")) shape = { items: shape };
    // What is joined to a structure: more fields, or conditions, which validators.ts knows.
    while (this.#take("&")) shape = merge(shape, this.#single());
    return shape;
  }

  #named(name: string): Shape {
    if (name === "Array") return { items: this.#parameters()[0]! };
    if (name === "Record") return { fields: new Map(), values: this.#parameters()[1]! };
    if (/^(string|boolean|number|null|any|unknown|never)$/.test(name)) return LEAF;
    if (this.#parameters().length > 0) return LEAF;
    return this.#resolve(name);
  }

  #parameters(): Shape[] {
    const parameters: Shape[] = [];
    if (!this.#take("<")) return parameters;
    do parameters.push(this.type());
    while (this.#take(","));
    this.#expect(">");
    return parameters;
  }

  #skip(): void {
    const space = /(?:\s|\/\*[\s\S]*?\*\/|\/\/[^\n]*)*/y;
    space.lastIndex = this.#at;
    space.exec(this.#text);
    this.#at = space.lastIndex;
  }

  #take(token: string): boolean {
    this.#skip();
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  #expect(token: string): void {
    if (this.#take(token)) return;
    throw new Error(`expected ${token} at ${this.#text.slice(this.#at, this.#at + 60)}`);
  }

  #match(pattern: RegExp): string | undefined {
    this.#skip();
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) return undefined;
    this.#at = pattern.lastIndex;
    return found[0];
  }
}
