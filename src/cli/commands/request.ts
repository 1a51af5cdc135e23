/** `waystone request`: one request as a workload of the running mesh, and what decided. */
import { EXIT_FAILED, usageError } from "../command-error.ts";
import { json, type Output } from "../output.ts";
import { RunningMesh, workloadNamed } from "../running-mesh.ts";
import { echoAnswer, type RequestResult, sendRequest } from "../send-request.ts";

export interface RequestOptions {
  /** METHOD or URL, … */
  readonly first: string | undefined;
  /** … and the URL when `first` is the method. */
  readonly second: string | undefined;
  readonly from: string;
  readonly header?: readonly (readonly [string, string])[];
  readonly data?: string;
  readonly state?: string;
  readonly output: "text" | "json";
}

export async function request(options: RequestOptions, output: Output): Promise<number> {
  const { method, url } = methodAndUrl(options);
  const mesh = await RunningMesh.find(options.state);
  const report = await mesh.report();
  const workload = workloadNamed(options.from, report.workloads);
  const plan = { workload, method, url, headers: options.header ?? [], body: options.data };
  const result = await sendRequest(mesh, report, plan);
  output.print(options.output === "json" ? json(result) : describeResult(result));
  // Any answer is what was asked for; no answer is not.
  return result.status === 0 ? EXIT_FAILED : 0;
}

function methodAndUrl(options: RequestOptions): { method: string; url: string } {
  const { first, second, data } = options;
  if (first === undefined) throw usageError("missing required argument 'url'", EXAMPLE);
  if (second !== undefined) return { method: first.toUpperCase(), url: second };
  if (/^[A-Z]+$/.test(first)) throw usageError(`${first} what? The URL is missing`, EXAMPLE);
  return { method: data === undefined ? "GET" : "POST", url: first };
}

const EXAMPLE = "Write 'waystone request --from WORKLOAD [METHOD] URL'.";

/** Status line, who answered, the decision; then the body, unless it is the echo's. */
export function describeResult(result: RequestResult): string {
  const { status, statusText, servedBy, decision, failure, body } = result;
  const lines = [status === 0 ? "connection closed" : `${status} ${statusText}`.trimEnd()];
  if (servedBy) {
    const echo = echoAnswer(body);
    const version = echo?.version ? ` (version ${echo.version})` : "";
    lines.push(`served by ${servedBy}${version}`);
  }
  if (failure) lines.push(failure);
  if (decision !== undefined) lines.push("", decision.text.trimEnd());
  else if (status !== 0) lines.push("", "no proxy recorded a decision: no waypoint took part");
  if (body && echoAnswer(body) === undefined) lines.push("", body.trimEnd());
  return lines.join("\n");
}
