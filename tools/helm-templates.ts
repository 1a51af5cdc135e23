/**
 * Writes the manifests of an installation down as Helm's templates: each hole becomes the template
 * that fills it as `src/cli/install/render.ts` does.
 *
 * Values are written by `toJson`, which is YAML on one line: whatever a text holds, it cannot become
 * something else, and large numbers stay whole, which `toYaml` does not promise.
 */
import type {
  BuiltIn,
  ChartNode,
  ChartObject,
  Condition,
  Reference,
} from "../src/cli/install/chart-node.ts";
import { Hole } from "../src/cli/install/chart-node.ts";
import { VALUE_TABLE } from "../src/cli/install/value-table.ts";

const BUILT_INS: Readonly<Record<BuiltIn, string>> = {
  namespace: ".Release.Namespace",
  release: ".Release.Name",
  appVersion: ".Chart.AppVersion",
};

const INDENT = "  ";

/** Text of each file under `templates/`. */
export function helmTemplates(chart: readonly ChartObject[]): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const one of chart) {
    const before = files.get(one.file);
    const head = before === undefined ? `${GENERATED}\n` : `${before}---\n`;
    files.set(one.file, `${head}${joinedConditions(objectLines(one)).join("\n")}\n`);
  }
  return files;
}

const GENERATED = "{{- /* Written by tools/chart.ts from src/cli/install; change it there. */ -}}";

function objectLines({ condition, object, isLeftToOthers }: ChartObject): string[] {
  const lines = mapping(object, "");
  const kept = isLeftToOthers ? leftToOthers(object, lines) : lines;
  return condition === undefined ? kept : conditional(condition, kept);
}

/** Helm's own object stays in the release; somebody else's is left out of it. */
function leftToOthers(object: ChartObject["object"], lines: string[]): string[] {
  const { apiVersion, kind, metadata } = object;
  const { name, namespace = "" } = metadata;
  const arguments_ = [apiVersion, kind, namespace, name].map((part) =>
    part instanceof Hole ? `(${textOf(part)})` : JSON.stringify(part),
  );
  const owner = `dig "metadata" "annotations" "meta.helm.sh/release-name" "" $found`;
  return [
    `{{- $found := lookup ${arguments_.join(" ")} }}`,
    `{{- if or (not $found) (eq .Release.Name (${owner})) }}`,
    ...lines,
    "{{- end }}",
  ];
}

function conditional(condition: Condition, then: string[], otherwise: string[] = []): string[] {
  const rest = otherwise.length === 0 ? [] : ["{{- else }}", ...otherwise];
  return [`{{- if ${conditionOf(condition)} }}`, ...then, ...rest, "{{- end }}"];
}

/** What stands in a row under the same condition stands under it together. */
function joinedConditions(lines: readonly string[]): string[] {
  const joined: string[] = [];
  const open: string[] = [];
  let ended: string | undefined;
  for (const line of lines) {
    if (ended !== undefined && line === ended) {
      joined.pop();
      open.push(ended);
      ended = undefined;
      continue;
    }
    ended = undefined;
    if (line === "{{- end }}") ended = open.pop();
    else if (line === "{{- else }}") open[open.length - 1] = "";
    else if (/^\{\{- (if|range) /.test(line)) open.push(line.startsWith("{{- if") ? line : "");
    joined.push(line);
  }
  return joined;
}

function conditionOf(condition: Condition): string {
  if ("isSet" in condition) return `.Values.${condition.isSet}`;
  if ("equals" in condition) {
    return `eq .Values.${condition.value} ${JSON.stringify(condition.equals)}`;
  }
  return `and ${condition.all.map((one) => inBrackets(conditionOf(one))).join(" ")}`;
}

function inBrackets(expression: string): string {
  return expression.includes(" ") ? `(${expression})` : expression;
}

function mapping(node: { readonly [key: string]: ChartNode }, indent: string): string[] {
  return Object.entries(node).flatMap(([key, part]) => entry(scalar(key), part, indent));
}

/** `key: value`, on one line or on several. */
function entry(key: string, node: ChartNode, indent: string): string[] {
  if (node instanceof Hole) {
    const { filling } = node;
    if (filling.kind === "when") {
      const { condition, node: then, otherwise } = filling;
      const other = otherwise === undefined ? [] : entry(key, otherwise, indent);
      return conditional(condition, entry(key, then, indent), other);
    }
    if (filling.kind !== "yaml") return [`${indent}${key}: ${inline(node)}`];
    const text = filling.node;
    if (text instanceof Hole) {
      const value = `toYaml ${wholeValue(text)} | nindent ${indent.length + 2}`;
      return [`${indent}${key}: |`, `${indent}${INDENT}{{- ${value} }}`];
    }
    return [`${indent}${key}: |`, ...mapping(text as never, indent + INDENT)];
  }
  if (Array.isArray(node) && node.length > 0) {
    return [`${indent}${key}:`, ...node.flatMap((one) => element(one, indent + INDENT))];
  }
  if (typeof node === "object" && Object.keys(node).length > 0) {
    return [`${indent}${key}:`, ...mapping(node as never, indent + INDENT)];
  }
  return [`${indent}${key}: ${literal(node)}`];
}

function element(node: ChartNode, indent: string): string[] {
  if (node instanceof Hole) {
    const { filling } = node;
    if (filling.kind === "when") {
      const { condition, node: then, otherwise } = filling;
      const other = otherwise === undefined ? [] : element(otherwise, indent);
      return conditional(condition, element(then, indent), other);
    }
    if (filling.kind === "each") {
      const head = `{{- range $item := .Values.${filling.path} }}`;
      return [head, ...element(filling.node, indent), "{{- end }}"];
    }
    return [`${indent}- ${inline(node)}`];
  }
  if (typeof node !== "object" || Object.keys(node).length === 0) {
    return [`${indent}- ${literal(node)}`];
  }
  const lines = mapping(node as never, indent + INDENT);
  if (lines[0]!.startsWith("{{")) throw new Error("an element begins with what is always there");
  // The first line of a mapping's element stands behind the dash.
  return [`${indent}- ${lines[0]!.trimStart()}`, ...lines.slice(1)];
}

/** A hole that stands for one value. */
function inline(node: Hole): string {
  const { filling } = node;
  switch (filling.kind) {
    case "value":
      return `{{ toJson ${reference(filling.of)} }}`;
    case "text":
      return `{{ ${textOf(node)} | toJson }}`;
    case "joined":
      return `{{ join ${JSON.stringify(filling.separator)} .Values.${filling.path} | toJson }}`;
    case "checksum": {
      const values = filling.paths.map((path) => `.Values.${path}`).join(" ");
      return `{{ list ${values} | toJson | sha256sum | toJson }}`;
    }
  }
  throw new Error(`${filling.kind} does not stand for one value`);
}

function textOf({ filling }: Hole): string {
  if (filling.kind !== "text") throw new Error("only a text can be a name");
  const { parts } = filling;
  const [only] = parts;
  if (parts.length === 1 && typeof only === "object" && !isInteger(only)) return reference(only);
  const format = parts.map((part) => {
    if (typeof part === "string") return part.replaceAll("%", "%%");
    return isInteger(part) ? "%d" : "%s";
  });
  const references = parts.flatMap((part) => {
    if (typeof part === "string") return [];
    return [isInteger(part) ? `(int64 ${reference(part)})` : inBrackets(reference(part))];
  });
  return `printf ${JSON.stringify(format.join(""))} ${references.join(" ")}`;
}

function isInteger(of: Reference): boolean {
  if (!("value" in of)) return false;
  return VALUE_TABLE.find(({ path }) => path === of.value)?.type === "integer";
}

function reference(of: Reference): string {
  if ("item" in of) return "$item";
  if ("builtIn" in of) return BUILT_INS[of.builtIn];
  if ("condition" in of) {
    const { then, otherwise } = of;
    const choice = `${JSON.stringify(then)} ${JSON.stringify(otherwise)}`;
    return `ternary ${choice} (${conditionOf(of.condition)})`;
  }
  if (of.orElse === undefined) return `.Values.${of.value}`;
  return `default ${inBrackets(reference(of.orElse))} .Values.${of.value}`;
}

function wholeValue({ filling }: Hole): string {
  if (filling.kind !== "value") throw new Error("YAML of one value, or of a mapping");
  return reference(filling.of);
}

function literal(node: ChartNode): string {
  if (Array.isArray(node)) return "[]";
  if (typeof node === "object") return "{}";
  return typeof node === "string" ? scalar(node) : String(node);
}

/** Plain where no reader of YAML could take it for something else. */
function scalar(text: string): string {
  const isPlain = /^[A-Za-z/][A-Za-z0-9_./-]*( [A-Za-z0-9_.,/-]+)*$/.test(text);
  const isWord = /^(y|n|yes|no|on|off|true|false|null)$/i.test(text);
  return isPlain && !isWord && !text.endsWith(",") ? text : JSON.stringify(text);
}
