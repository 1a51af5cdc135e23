/**
 * YAML (and JSON, which is YAML) to objects with positions: several documents in a file, `List`s
 * taken apart.
 *
 * Bounded: file size, documents, and what aliases may expand to. A duplicate key is an error, as it
 * is for kubectl: one of the two values would be lost in silence.
 */
import {
  type Document,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  type Tags,
  visit,
} from "yaml";
import { type Diagnostic, diagnostic } from "../kit/diagnostic.ts";
import type { FieldPath, Position } from "./object.ts";

export const FILE_BYTES_MAX = 10 * 1024 * 1024;
const DOCUMENTS_MAX = 20_000;
/** Errors told of one document: those behind them mostly follow from the first. */
const ERRORS_MAX = 5;
/** What a parser says that has run out of stack on nested brackets. */
const TOO_DEEP = /call stack/i;
/** How often one anchor may be used in all (the `yaml` library's guard against "billion laughs"). */
const ALIASES_MAX = 1000;

/** One object of a file: not yet known to be one. */
export interface RawObject {
  readonly value: unknown;
  readonly position: Position;
  positionOf(path: FieldPath): Position;
  /** Like positionOf, but of the field's name and not of its value. */
  positionOfKey(path: FieldPath): Position;
}

export interface ParsedText {
  readonly objects: readonly RawObject[];
  readonly diagnostics: readonly Diagnostic[];
}

/** Of YAML 1.1: what JSON does not have, and numbers with colons. */
const NOT_JSON = /:(binary|omap|pairs|set|timestamp)$/;

/**
 * YAML 1.1 as kubectl and istiod read it: `yes` is true and `0644` octal; times, and numbers with
 * colons, are texts.
 */
export const KUBECTL_YAML = {
  version: "1.1",
  resolveKnownTags: false,
  customTags: (tags: Tags) =>
    tags.filter(
      (tag) => typeof tag === "string" || (!NOT_JSON.test(tag.tag) && tag.format !== "TIME"),
    ),
} as const;

/** All objects of a file's text. With a diagnostic of level error the objects are not complete. */
export function parseYaml(
  text: string,
  file: string,
  dialect: Partial<typeof KUBECTL_YAML> = {},
): ParsedText {
  // The length in UTF-16 units is never more than that in bytes.
  if (text.length > FILE_BYTES_MAX || Buffer.byteLength(text) > FILE_BYTES_MAX) {
    const message = `the file is larger than ${FILE_BYTES_MAX / 1024 / 1024} MiB`;
    return { objects: [], diagnostics: [diagnostic("WS0006", message, { file })] };
  }
  const lines = new LineCounter();
  const options = {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
    // kubectl knows merge keys (`<<: *defaults`), although YAML 1.2 has dropped them.
    merge: true,
    logLevel: "silent",
    ...dialect,
  } as const;
  const documents = parseAllDocuments(text, options);
  if (!Array.isArray(documents)) return { objects: [], diagnostics: [] };
  if (documents.length > DOCUMENTS_MAX) {
    const message = `the file has more than ${DOCUMENTS_MAX} documents`;
    return { objects: [], diagnostics: [diagnostic("WS0006", message, { file })] };
  }
  const objects: RawObject[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const document of documents) {
    readDocument(
      document as Document.Parsed,
      // Most texts have none; the search for aliases is for the others.
      text.includes("&"),
      new Places(document as Document.Parsed, lines, file),
      objects,
      diagnostics,
    );
  }
  return { objects, diagnostics };
}

function readDocument(
  document: Document.Parsed,
  hasAnchors: boolean,
  places: Places,
  objects: RawObject[],
  diagnostics: Diagnostic[],
): void {
  if (document.errors.length > 0) {
    diagnostics.push(...syntaxErrors(document, places));
    return;
  }
  const endless = hasAnchors ? endlessAlias(document) : undefined;
  if (endless !== undefined) {
    const message = "the alias stands inside of what it names";
    diagnostics.push(diagnostic("WS0001", message, places.atOffset(endless)));
    return;
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (caught) {
    const said = caught instanceof Error ? caught.message : String(caught);
    const message = TOO_DEEP.test(said) ? "the values are nested too deeply" : said;
    diagnostics.push(diagnostic("WS0001", message, places.of([])));
    return;
  }
  if (value === null || value === undefined) return;
  for (const [item, path] of takeApart(value, [])) {
    objects.push({
      value: item,
      position: places.of(path),
      positionOf: (inner) => places.of([...path, ...inner]),
      positionOfKey: (inner) => places.ofKey([...path, ...inner]),
    });
  }
}

/** The first errors of a document, one for a place; of one that is nested too deeply only that. */
function syntaxErrors({ errors }: Document.Parsed, places: Places): Diagnostic[] {
  const tooDeep = errors.find(({ message }) => TOO_DEEP.test(message));
  if (tooDeep !== undefined) {
    const message = "the values are nested too deeply";
    return [diagnostic("WS0001", message, places.atOffset(tooDeep.pos[0]))];
  }
  const told = errors
    .slice(0, ERRORS_MAX)
    .map(({ message, pos }) =>
      diagnostic("WS0001", message.replace(/\s+at line \d+.*$/s, ""), places.atOffset(pos[0])),
    );
  const more = errors.length - told.length;
  if (more > 0) {
    const message = `${more} more syntax errors follow`;
    told.push(diagnostic("WS0001", message, places.atOffset(errors[ERRORS_MAX]!.pos[0])));
  }
  return told;
}

/** Where an alias makes the document contain itself: no object of Kubernetes does. */
function endlessAlias(document: Document.Parsed): number | undefined {
  let found: number | undefined;
  visit(document, {
    Alias(_key, alias, ancestors) {
      const target = alias.resolve(document);
      if (target === undefined || !ancestors.includes(target)) return undefined;
      found = offsetOf(alias);
      return visit.BREAK;
    },
  });
  return found;
}

/** The items of a `List` (of lists), with their paths in the document. */
function takeApart(value: unknown, path: FieldPath): [unknown, FieldPath][] {
  const list = value as { kind?: unknown; items?: unknown; metadata?: { name?: unknown } };
  const isList =
    typeof list === "object" &&
    list !== null &&
    typeof list.kind === "string" &&
    list.kind.endsWith("List") &&
    Array.isArray(list.items) &&
    list.metadata?.name === undefined;
  if (!isList) return [[value, path]];
  return (list.items as unknown[]).flatMap((item, index) =>
    takeApart(item, [...path, "items", index]),
  );
}

/** Where the parts of one document stand. */
class Places {
  readonly #document: Document.Parsed;
  readonly #lines: LineCounter;
  readonly #file: string;

  constructor(document: Document.Parsed, lines: LineCounter, file: string) {
    this.#document = document;
    this.#lines = lines;
    this.#file = file;
  }

  atOffset(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file, line: Math.max(1, line), column: Math.max(1, col) };
  }

  of(path: FieldPath): Position {
    return this.atOffset(this.#walk(path).value);
  }

  ofKey(path: FieldPath): Position {
    return this.atOffset(this.#walk(path).key);
  }

  /** Offsets of the last part of the path that exists. */
  #walk(path: FieldPath): { key: number; value: number } {
    let node: unknown = this.#document.contents;
    const start = offsetOf(node) ?? this.#document.range[0];
    let found = { key: start, value: start };
    for (const part of path) {
      if (isMap(node)) {
        const pair = node.items.find(
          (p) => isPair(p) && isScalar(p.key) && String(p.key.value) === String(part),
        );
        if (pair === undefined) return found;
        const key = offsetOf(pair.key) ?? found.key;
        node = pair.value;
        found = { key, value: offsetOf(node) ?? key };
      } else if (isSeq(node)) {
        node = node.items[Number(part)];
        const offset = offsetOf(node);
        if (offset === undefined) return found;
        found = { key: offset, value: offset };
      } else return found;
    }
    return found;
  }
}

function offsetOf(node: unknown): number | undefined {
  const { range } = (node ?? {}) as { range?: readonly number[] | null };
  return range?.[0];
}
