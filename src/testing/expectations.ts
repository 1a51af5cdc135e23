/** What tests expect of a request, in the words of every test runner. */
import type { TestResult } from "./test-mesh.ts";

export interface AllowedBy {
  /** The policy, `<namespace>/<name>` or its name, with `#<rule>` if it matters. */
  readonly by?: string;
}

export interface DeniedBy extends AllowedBy {
  /** The status. */
  readonly with?: number;
}

/** What is wrong, or undefined when it is as expected. */
export function notAllowed(result: TestResult, { by }: AllowedBy = {}): string | undefined {
  if (!result.isAllowed)
    return failed("expected the request to be allowed, and it is denied", result);
  return wrongPolicy(result, by, "allowed");
}

export function notDenied(result: TestResult, expected: DeniedBy = {}): string | undefined {
  if (result.isAllowed)
    return failed("expected the request to be denied, and it is allowed", result);
  const { status } = result;
  if (expected.with !== undefined && status !== expected.with) {
    const given = status === undefined ? "a closed connection" : String(status);
    return failed(
      `expected it to be denied with ${expected.with}, and it is with ${given}`,
      result,
    );
  }
  return wrongPolicy(result, expected.by, "denied");
}

export function notReaching(result: TestResult, backend: string): string | undefined {
  if (result.reached.includes(backend)) return undefined;
  const [, name = "nobody"] = result.reached;
  return failed(`expected the request to reach ${backend}, and it reaches ${name}`, result);
}

function wrongPolicy(
  result: TestResult,
  by: string | undefined,
  how: "allowed" | "denied",
): string | undefined {
  if (by === undefined || names(result).includes(by)) return undefined;
  return failed(`expected the request to be ${how} by ${by}`, result);
}

/** All ways to write the policy that decided; `default` when none did. */
function names({ by, rule }: TestResult): readonly string[] {
  if (by === undefined) return ["default"];
  const name = by.slice(by.indexOf("/") + 1);
  return [by, name, `${by}#${rule}`, `${name}#${rule}`];
}

function failed(message: string, { by, rule, place, trace }: TestResult): string {
  const where = place === undefined ? "" : ` (${place})`;
  const decided = by === undefined ? "no policy decided" : `decided by ${by} rule ${rule}${where}`;
  return `${message}; ${decided}\n\n${trace}`;
}
