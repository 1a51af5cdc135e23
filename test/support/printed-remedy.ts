/**
 * Follows a remedy as it is printed: reads the words at the end of a message and makes the edits in
 * the manifests, knowing nothing of what made them.
 */
import { type Document, isMap, parseAllDocuments, parseDocument, stringify } from "yaml";
import type { Edit } from "../../src/kit/diagnostic.ts";

const LEAD = "; remedy: ";
const NEXT = ", and ";

/** The edits that a message asks for. `about`: the object that it need not name. */
export function readRemedy(message: string, about: string): readonly Edit[] {
  const start = message.lastIndexOf(LEAD);
  if (start < 0) throw new Error(`no remedy is printed: ${message}`);
  let rest = message.slice(start + LEAD.length);
  const edits: Edit[] = [];
  while (rest !== "") {
    const [edit, left] = readEdit(rest, about);
    edits.push(edit);
    if (left !== "" && !left.startsWith(NEXT)) throw new Error(`not a remedy: ${left}`);
    rest = left.slice(NEXT.length);
  }
  return edits;
}

function readEdit(text: string, about: string): readonly [Edit, string] {
  const label = /^add the label (\S+): (\S+) to (\w+ [\w./-]+)/.exec(text);
  if (label) {
    const path = ["metadata", "labels", label[1]!];
    return [{ op: "set", object: label[3]!, path, value: label[2]! }, after(text, label)];
  }
  const set = /^set (\S+)(?: of (\w+ [\w./-]+))? to /.exec(text);
  if (set) {
    const [value, left] = readJson(after(text, set));
    return [{ op: "set", object: set[2] ?? about, path: readPath(set[1]!), value }, left];
  }
  const remove = /^remove ([^\s,]+)(?: of (\w+ [\w./-]+))?/.exec(text);
  if (remove) {
    const object = remove[2] ?? about;
    return [{ op: "remove", object, path: readPath(remove[1]!) }, after(text, remove)];
  }
  const create = /^create /.exec(text);
  if (create) {
    const [value, left] = readJson(after(text, create));
    return [{ op: "create", object: nameOf(value), value: value as object }, left];
  }
  const append = /^add /.exec(text);
  if (!append) throw new Error(`not an edit: ${text}`);
  const [value, left] = readJson(after(text, append));
  const place = /^ to (\S+?)(?: of (\w+ [\w./-]+))?(?=,|$)/.exec(left)!;
  const edit = {
    op: "append",
    object: place[2] ?? about,
    path: readPath(place[1]!),
    value,
  } as const;
  return [edit, after(left, place)];
}

function after(text: string, found: RegExpExecArray): string {
  return text.slice(found[0].length);
}

/** The JSON value at the beginning: the shortest text that is one, up to what follows an edit. */
function readJson(text: string): readonly [unknown, string] {
  for (let end = 1; end <= text.length; end++) {
    const left = text.slice(end);
    if (left !== "" && !left.startsWith(NEXT) && !left.startsWith(" to ")) continue;
    try {
      return [JSON.parse(text.slice(0, end)), left];
    } catch {
      // Not yet.
    }
  }
  throw new Error(`no value: ${text}`);
}

/** `spec.rules[0].to` → `["spec", "rules", 0, "to"]`. */
function readPath(text: string): (string | number)[] {
  return [...text.matchAll(/\[(\d+)\]|\["([^"]+)"\]|([^.[\]]+)/g)].map(([, index, quoted, name]) =>
    index === undefined ? (quoted ?? name!) : Number(index),
  );
}

/** The text of the manifests with the edits made. */
export function applyEdits(manifests: string, edits: readonly Edit[]): string {
  const documents = parseAllDocuments(manifests) as Document.Parsed[];
  const named = new Map(documents.map((document) => [nameOf(document.toJS()), document]));
  const all: Document[] = [...documents];
  for (const edit of edits) {
    if (edit.op === "create") {
      all.push(parseDocument(stringify(edit.value)));
      continue;
    }
    const document = named.get(edit.object);
    if (document === undefined) throw new Error(`there is no ${edit.object}`);
    switch (edit.op) {
      case "set":
        setIn(document, edit.path, edit.value);
        break;
      case "append": {
        const present = document.getIn(edit.path) as { toJSON(): unknown[] } | undefined;
        document.setIn(edit.path, document.createNode([...(present?.toJSON() ?? []), edit.value]));
        break;
      }
      case "remove":
        document.deleteIn(edit.path);
    }
  }
  return all.map((document) => document.toString({ lineWidth: 0 })).join("---\n");
}

/** Parents that are not there are made as maps. */
function setIn(document: Document, path: readonly (string | number)[], value: unknown): void {
  for (let length = 1; length < path.length; length++) {
    const parent = path.slice(0, length);
    if (document.getIn(parent) === undefined) document.setIn(parent, document.createNode({}));
  }
  const parent = document.getIn(path.slice(0, -1));
  const node = document.createNode(value);
  if (isMap(parent)) parent.set(path.at(-1), node);
  else document.setIn(path, node);
}

/** `Kind ns/name`, as diagnostics name objects. */
function nameOf(value: unknown): string {
  const { kind, metadata } = value as {
    kind: string;
    metadata: { name: string; namespace?: string };
  };
  const isClusterWide = kind === "Namespace" || kind === "GatewayClass";
  return `${kind} ${isClusterWide ? "" : `${metadata.namespace ?? "default"}/`}${metadata.name}`;
}
