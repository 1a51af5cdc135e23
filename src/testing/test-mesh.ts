/**
 * A mesh for tests of its policies: manifests in, requests asked, nothing sent. The answers are
 * those of the proxies' own decision functions, at every hop.
 */
import { formatDiagnostic } from "../kit/diagnostic.ts";
import { AddressPlan } from "../local/addresses.ts";
import { localConfiguration } from "../local/cluster.ts";
import { askMesh, type JourneyReport } from "../local/explained-request.ts";
import { formatPosition, type SourcePosition } from "../model/object-ref.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import type { JourneyStep } from "../policy/journey.ts";
import { type RuleCoverage, uncovered } from "./coverage.ts";

export interface TestRequest {
  /** `<namespace>/<service account>`, a workload's name, or an address that is nobody's. */
  readonly from: string;
  /** `<service>[.<namespace>][:<port>]`, or an address with a port. */
  readonly to: string;
  /** GET when it is left out; `null`: a connection that is not HTTP. */
  readonly method?: string | null;
  /** That a TLS client asks for, where `method` is null. */
  readonly serverName?: string;
  /** With the query; `/` when it is left out. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** A token, which is verified; or the claims of one that is taken for verified. */
  readonly jwt?: string | Readonly<Record<string, unknown>>;
  /** What the authorizers of CUSTOM policies say, by name; others let it pass. */
  readonly answers?: Readonly<Record<string, boolean>>;
  /** Where weighted choices fall, from 0 up to 1. */
  readonly draw?: number;
}

export interface TestResult {
  readonly isAllowed: boolean;
  /** What the client gets from a proxy; undefined: the backend's own answer. */
  readonly status: number | undefined;
  /** `<namespace>/<name>` of the policy that decided; undefined: none did. */
  readonly by: string | undefined;
  /** Index of its rule. */
  readonly rule: number | undefined;
  /** Where that rule stands: `policies.yaml:12:7`. */
  readonly place: string | undefined;
  /** Names of the workload that it reaches: its own, its owner's, its application's. */
  readonly reached: readonly string[];
  /** Every hop, and why: what a failed test prints. */
  readonly trace: string;
  readonly report: JourneyReport;
}

/** Reads files and folders of manifests; throws when they cannot be used, and says where. */
export async function loadMesh(paths: string | readonly string[]): Promise<TestMesh> {
  const configuration = localConfiguration([paths].flat(), new AddressPlan("addresses"));
  try {
    const wrong: string[] = [];
    await configuration
      .loadOrRefuse((diagnostics) => {
        wrong.push(...diagnostics.map(formatDiagnostic));
      })
      .catch((caught: unknown) => {
        throw wrong.length === 0 ? caught : new Error(wrong.join("\n"));
      });
    const diagnostics = configuration.diagnostics.map(formatDiagnostic);
    return new TestMesh(configuration.control.current, diagnostics);
  } finally {
    configuration.close();
  }
}

export class TestMesh {
  readonly #snapshot: Snapshot;
  /** What is wrong with the manifests, as `waystone validate` says it. */
  readonly diagnostics: readonly string[];
  /** `<policy> <rule>` of the rules by which a request was decided. */
  readonly #deciding = new Set<string>();

  constructor(snapshot: Snapshot, diagnostics: readonly string[]) {
    this.#snapshot = snapshot;
    this.diagnostics = diagnostics;
  }

  /** What would become of the request. */
  request(request: TestRequest): TestResult {
    const { from, to, method = "GET", path = "/", headers = {}, jwt, answers = {} } = request;
    const { serverName, draw = 0 } = request;
    const token = typeof jwt === "string" ? { authorization: `Bearer ${jwt}` } : {};
    const { way, report } = askMesh(this.#snapshot, {
      ...{ from, to, path, answers, serverName, draw },
      method: method ?? undefined,
      headers: Object.entries({ ...headers, ...token }),
      claims: typeof jwt === "object" ? jwt : undefined,
    });
    for (const { decision } of way.steps) {
      const { policy, rule } = decision?.verdict ?? {};
      if (policy !== undefined && rule !== undefined) this.#deciding.add(`${policy} ${rule}`);
    }
    const verdict = decidingStep(way.steps)?.decision?.verdict;
    return {
      isAllowed: way.isAllowed,
      status: way.status,
      by: verdict?.policy,
      rule: verdict?.rule,
      place: placeOf(verdict?.position),
      reached: namesOf(way.reached),
      trace: report.text,
      report,
    };
  }

  /** Rules of policies by which no request of the tests was decided. */
  uncoveredRules(): readonly RuleCoverage[] {
    return uncovered(this.#snapshot, this.#deciding);
  }
}

/** That which denied, or the last that a policy allowed. */
function decidingStep(steps: readonly JourneyStep[]): JourneyStep | undefined {
  const denied = steps.find(({ decision }) => decision?.verdict.isAllowed === false);
  return denied ?? steps.findLast(({ decision }) => decision?.verdict.policy !== undefined);
}

function placeOf(position: SourcePosition | undefined): string | undefined {
  return formatPosition(position);
}

function namesOf(workload: Workload | undefined): readonly string[] {
  if (workload === undefined) return [];
  const { namespace, name, workloadName, canonicalName } = workload;
  const names = [...new Set([name, workloadName, canonicalName])];
  return names.flatMap((one) => [one, `${namespace}/${one}`]);
}
