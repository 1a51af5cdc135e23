/**
 * The Helm chart, made from what `waystone install` applies: its templates, values, their schema,
 * and the reference page of the values. Only `NOTES.txt` is written by hand.
 *
 * `npm run docs` writes them; `test/docs/chart.test.ts` fails when they differ.
 */
import { readFileSync } from "node:fs";
import { stringify } from "yaml";
import { CHART } from "../src/cli/install/chart-objects.ts";
import { VALUE_TABLE, type ValueKind } from "../src/cli/install/value-table.ts";
import { valuesSchema } from "../src/cli/install/values.ts";
import { helmTemplates } from "./helm-templates.ts";

const COLUMNS = 100;

/** Text of each generated file under `deploy/chart/waystone/`. */
export function chartFiles(): ReadonlyMap<string, string> {
  const templates = [...helmTemplates(CHART)];
  return new Map([
    ["Chart.yaml", chartYaml()],
    ["values.yaml", valuesYaml()],
    ["values.schema.json", `${JSON.stringify(valuesSchema(), undefined, 2)}\n`],
    ...templates.map(([file, text]) => [`templates/${file}`, text] as const),
  ]);
}

function chartYaml(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  const { version, description } = JSON.parse(text) as { version: string; description: string };
  return stringify({
    apiVersion: "v2",
    name: "waystone",
    description,
    type: "application",
    version,
    appVersion: version,
    kubeVersion: ">=1.27.0-0",
    keywords: ["service mesh", "istio", "ambient", "waypoint"],
  });
}

function valuesYaml(): string {
  const lines = [
    "# Values of the chart, and of `waystone install --set` and `--values`.",
    "# Written by tools/chart.ts from src/cli/install/value-table.ts; change it there.",
  ];
  let before: readonly string[] = [];
  for (const kind of VALUE_TABLE) {
    const keys = kind.path.split(".");
    const groups = keys.slice(0, -1);
    const isGroup = groups.length > 0 && groups.join() === before.join();
    if (!isGroup) {
      lines.push("");
      groups.forEach((key, depth) => {
        lines.push(`${"  ".repeat(depth)}${key}:`);
      });
    }
    before = groups;
    lines.push(...valueLines(kind, keys.at(-1)!, "  ".repeat(groups.length)));
  }
  return `${lines.join("\n")}\n`;
}

function valueLines(kind: ValueKind, key: string, indent: string): string[] {
  const choices = kind.choices === undefined ? "" : ` One of ${kind.choices.join(", ")}.`;
  const comment = wrapped(`${kind.description}${choices}`, COLUMNS - indent.length - 2);
  const text = stringify({ [key]: kind.usual }, { lineWidth: 0 }).trimEnd();
  return [
    ...comment.map((line) => `${indent}# ${line}`),
    ...text.split("\n").map((l) => indent + l),
  ];
}

function wrapped(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > columns) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** docs/reference/chart.md */
export function chartPage(): string {
  const rows = VALUE_TABLE.map(({ path, type, usual, description, choices }) => {
    const what = choices?.map((choice) => `\`${choice}\``).join(", ") ?? type;
    return `| \`${path}\` | ${what} | \`${JSON.stringify(usual)}\` | ${description} |`;
  });
  return `<!-- Written by tools/docs.ts from the code; change the table there. -->

# Values of an installation

What can be set with \`helm install -f\` and \`--set\`, and with \`waystone install --values\` and
\`--set\`: the same. A value that is not here, or not of its type, is refused. \`object\` and
\`objects\` hold what Kubernetes says of the field of that name, or Istio's MeshConfig.

| value | type | default | meaning |
| --- | --- | --- | --- |
${rows.join("\n")}

\`waystone install\` needs no chart and gives the same objects: both are made from
[src/cli/install](../../src/cli/install). Of \`--set\` it reads what Helm does: \`a.b=c\`, several with
commas between, \`a={x,y}\`, \`a[0]=x\`, \`\\,\` for a comma, \`null\` to take a default away.
`;
}
