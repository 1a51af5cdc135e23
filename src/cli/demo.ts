/**
 * The telling requests of an example: a `requests.txt` beside its manifests, so that they are data.
 * One a line: workload, method, URL, the status that is expected, and why.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CommandError, EXIT_CONFIGURATION, usageError } from "./command-error.ts";
import { type Output, table } from "./output.ts";
import { type RunningMesh, workloadNamed } from "./running-mesh.ts";
import { type RequestResult, sendRequest } from "./send-request.ts";

export interface DemoRequest {
  readonly from: string;
  readonly method: string;
  readonly url: string;
  readonly status: number;
  readonly why: string;
}

const FILE_NAME = "requests.txt";

export function parseRequests(text: string, file: string): DemoRequest[] {
  const requests: DemoRequest[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const words = line.trim();
    if (words === "" || words.startsWith("#")) continue;
    const found = /^(\S+)\s+([A-Z]+)\s+(\S+)\s+(\d{3})\s*(.*)$/.exec(words);
    if (!found) {
      const message = `${file}:${index + 1}:1 is not a request`;
      const hint = "Write: WORKLOAD METHOD URL STATUS WHY.";
      throw new CommandError(EXIT_CONFIGURATION, message, hint);
    }
    const [, from = "", method = "", url = "", status, why = ""] = found;
    requests.push({ from, method, url, status: Number(status), why });
  }
  return requests;
}

/** Those of every folder that was given (of a file: its folder). */
export async function loadRequests(paths: readonly string[]): Promise<DemoRequest[]> {
  const folders = new Set<string>();
  for (const path of paths) {
    const isFolder = (await stat(path)).isDirectory();
    folders.add(isFolder ? path : dirname(path));
  }
  const requests: DemoRequest[] = [];
  for (const folder of folders) {
    if (!(await readdir(folder)).includes(FILE_NAME)) continue;
    const file = join(folder, FILE_NAME);
    requests.push(...parseRequests(await readFile(file, "utf8"), file));
  }
  if (requests.length > 0) return requests;
  throw usageError(`there is no ${FILE_NAME} beside ${paths.join(", ")}`, "Leave out --demo.");
}

/** Sends them one after another and prints what came of each. True when all went as expected. */
export async function runDemo(
  mesh: RunningMesh,
  requests: readonly DemoRequest[],
  output: Output,
): Promise<boolean> {
  const report = await mesh.report();
  const rows: string[][] = [];
  let isAsExpected = true;
  for (const { from, method, url, status, why } of requests) {
    const workload = workloadNamed(from, report.workloads);
    const plan = { workload, method, url, headers: [], body: undefined };
    const result = await sendRequest(mesh, report, plan);
    const isExpected = result.status === status;
    isAsExpected &&= isExpected;
    const seen = isExpected ? String(status) : `${result.status || "closed"} (expected ${status})`;
    rows.push([from, `${method} ${url}`, seen, result.servedBy, decidedBy(result), why]);
  }
  output.print(table(["FROM", "REQUEST", "STATUS", "SERVED BY", "DECIDED BY", "WHY"], rows));
  return isAsExpected;
}

/** `ns/policy rule 0`, or in words. */
function decidedBy(result: RequestResult): string {
  const { decision, failure } = result;
  if (decision === undefined) return failure;
  const { policy, rule, isAllowed } = decision;
  if (policy !== undefined) return rule === undefined ? policy : `${policy} rule ${rule}`;
  if (isAllowed === undefined) return "";
  return isAllowed ? "no policy applies" : "no ALLOW policy matched";
}
