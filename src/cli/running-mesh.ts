/**
 * The mesh that runs on this machine, as other commands reach it: found by its run file, asked
 * through its admin port.
 */

import type { DecisionReport } from "../agent/decision-report.ts";
import type { RecordedRequest } from "../agent/replay/recorded-request.ts";
import { nearest } from "../kit/nearest.ts";
import type { JourneyReport, RequestQuestion } from "../local/explained-request.ts";
import type { UnknownNameReport } from "../local/mesh-admin.ts";
import type { MeshReport, WorkloadReport } from "../local/mesh-report.ts";
import { type RunFile, readRunFile, stateDirectory } from "../local/run-file.ts";
import { findMeant } from "../model/workload-names.ts";
import { CommandError, EXIT_FAILED, usageError } from "./command-error.ts";

const ANSWER_TIMEOUT_MS = 5_000;

export class RunningMesh {
  readonly run: RunFile;

  constructor(run: RunFile) {
    this.run = run;
  }

  static async find(state: string | undefined): Promise<RunningMesh> {
    const directory = stateDirectory(state);
    const run = await readRunFile(directory);
    if (run !== undefined) return new RunningMesh(run);
    throw new CommandError(
      EXIT_FAILED,
      `no mesh is running (no live run.json in ${directory})`,
      "Start one with 'waystone up -f PATH', or name its folder with --state.",
    );
  }

  async report(): Promise<MeshReport> {
    const found = await this.#get("/mesh");
    if (found !== undefined) return found as MeshReport;
    throw new CommandError(EXIT_FAILED, `${this.run.adminUrl} is not a mesh's admin port`);
  }

  /** The decision of that id; undefined when none was recorded. */
  async decision(id: string): Promise<DecisionReport | undefined> {
    return (await this.#get(`/decisions/${encodeURIComponent(id)}`)) as DecisionReport | undefined;
  }

  /** All that are kept, oldest first. */
  async decisions(): Promise<readonly RecordedRequest[]> {
    const found = await this.#get("/decisions");
    return (found ?? []) as readonly RecordedRequest[];
  }

  /** What would become of a request. */
  async explain(question: RequestQuestion): Promise<JourneyReport> {
    const query = new URLSearchParams({ question: JSON.stringify(question) });
    const found = (await this.#get(`/explain?${query}`)) as JourneyReport | UnknownNameReport;
    if (!("problem" in found)) return found;
    throw usageError(found.problem, found.hint);
  }

  /** What a ztunnel refused to that client since then, newest first. */
  async refusals(sourceAddress: string, sinceMs: number): Promise<readonly DecisionReport[]> {
    const query = new URLSearchParams({ source: sourceAddress, since: String(sinceMs) });
    return ((await this.#get(`/decisions?${query}`)) ?? []) as readonly DecisionReport[];
  }

  /** What a workload means by a host name; undefined when it is no name of the mesh. */
  async resolve(namespace: string, host: string): Promise<Resolved | undefined> {
    const query = new URLSearchParams({ namespace, host });
    return (await this.#get(`/resolve?${query}`)) as Resolved | undefined;
  }

  async #get(path: string): Promise<unknown> {
    let response: Response;
    try {
      const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
      response = await fetch(`${this.run.adminUrl}${path}`, { signal });
    } catch (caught) {
      throw new CommandError(
        EXIT_FAILED,
        `the mesh (pid ${this.run.pid}) does not answer at ${this.run.adminUrl}`,
        "Is it still starting, or stopping?",
        { cause: caught },
      );
    }
    if (response.status === 404) return undefined;
    if (response.ok) return await response.json();
    throw new CommandError(EXIT_FAILED, `${path}: ${response.status} ${await response.text()}`);
  }
}

export interface Resolved {
  /** Service key. */
  readonly service: string;
  readonly address: string;
}

/** The one workload that a name means; of several Pods of one owner the first. */
export function workloadNamed(wanted: string, all: readonly WorkloadReport[]): WorkloadReport {
  const meant = findMeant(wanted, all);
  const [first] = meant;
  if (first === undefined) {
    const names = [...new Set(all.map((w) => w.workloadName))];
    const guess = nearest(wanted, names);
    throw usageError(
      `no workload is called ${wanted}`,
      guess ? `Did you mean ${guess}?` : `There are: ${names.join(", ") || "none"}.`,
    );
  }
  const namespaces = [...new Set(meant.map((w) => w.namespace))];
  if (namespaces.length === 1) return first;
  const choices = namespaces.map((namespace) => `${namespace}/${wanted}`).join(" or ");
  throw usageError(`${wanted} is in several namespaces`, `Write ${choices}.`);
}
