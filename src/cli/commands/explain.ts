/** `waystone explain`: what would become of a request, and why, without sending it. */
import { readFile } from "node:fs/promises";
import { formatDiagnostic } from "../../kit/diagnostic.ts";
import { AddressPlan } from "../../local/addresses.ts";
import { localConfiguration } from "../../local/cluster.ts";
import {
  explainRequest,
  type JourneyReport,
  type RequestQuestion,
  UnknownName,
} from "../../local/explained-request.ts";
import { EXIT_FAILED, usageError } from "../command-error.ts";
import { json, type Output, yaml } from "../output.ts";
import { RunningMesh } from "../running-mesh.ts";

export interface ExplainOptions {
  /** Of a recorded decision: then nothing else is asked. */
  readonly decision: string | undefined;
  readonly from?: string;
  readonly to?: string;
  readonly method: string;
  readonly path: string;
  readonly tcp?: boolean;
  readonly sni?: string;
  readonly header?: readonly (readonly [string, string])[];
  readonly jwt?: string;
  readonly answer?: readonly (readonly [string, boolean])[];
  readonly draw: number;
  readonly file?: readonly string[];
  readonly state?: string;
  readonly output: "text" | "json" | "yaml";
}

/** 0: it is allowed; 1: it is not. */
export async function explain(options: ExplainOptions, output: Output): Promise<number> {
  if (options.decision !== undefined) return explainDecision(options.decision, options, output);
  const question = await questionOf(options);
  const report =
    options.file === undefined
      ? await (await RunningMesh.find(options.state)).explain(question)
      : await explainFiles(options.file, question, output);
  print(report, report.text, options, output);
  return report.isAllowed ? 0 : EXIT_FAILED;
}

async function explainDecision(
  id: string,
  options: ExplainOptions,
  output: Output,
): Promise<number> {
  const mesh = await RunningMesh.find(options.state);
  const decision = await mesh.decision(id);
  if (decision === undefined) {
    throw usageError(
      `no decision ${id} is kept`,
      "Only the latest ones are kept: 'waystone decisions' lists them.",
    );
  }
  print(decision, decision.text, options, output);
  return decision.isAllowed === false ? EXIT_FAILED : 0;
}

function print(
  value: object,
  text: string,
  { output: format }: Pick<ExplainOptions, "output">,
  output: Output,
): void {
  if (format === "json") output.print(json(value));
  else if (format === "yaml") output.print(yaml(value));
  else output.print(text);
}

async function questionOf(options: ExplainOptions): Promise<RequestQuestion> {
  const { from, to, method, path, tcp, sni, jwt, draw } = options;
  if (from === undefined || to === undefined) {
    throw usageError(
      "who asks whom?",
      "Write 'waystone explain --from NS/SERVICEACCOUNT --to SERVICE[:PORT] -f PATH'.",
    );
  }
  const headers = [...(options.header ?? [])];
  if (jwt !== undefined) {
    const token = (await readFile(jwt, "utf8")).trim();
    headers.push(["authorization", `Bearer ${token}`]);
  }
  const answers = Object.fromEntries(options.answer ?? []);
  const asked = tcp === true || sni !== undefined ? undefined : method.toUpperCase();
  return { from, to, method: asked, serverName: sni, path, headers, answers, draw };
}

async function explainFiles(
  paths: readonly string[],
  question: RequestQuestion,
  output: Output,
): Promise<JourneyReport> {
  const configuration = localConfiguration(paths, new AddressPlan("addresses"));
  try {
    await configuration.loadOrRefuse((diagnostics) => {
      for (const diagnostic of diagnostics) output.say(formatDiagnostic(diagnostic));
    });
    return explainRequest(configuration.control.current, question);
  } catch (caught) {
    if (caught instanceof UnknownName) throw usageError(caught.message, caught.hint);
    throw caught;
  } finally {
    configuration.close();
  }
}
