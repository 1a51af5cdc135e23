/** `gateways` of a VirtualService: `mesh`, `namespace/name`, or a host name as of old. */
import type { FieldPath } from "../object.ts";
import { hostNameProblem, isDnsLabel } from "./dns-names.ts";
import { type Problems, problem, warning } from "./problem.ts";

export function* gatewayNameProblems(
  names: readonly string[],
  path: FieldPath,
  isConverted = false,
): Problems {
  for (const [i, name] of names.entries()) {
    const at = [...path, i];
    const slash = name.indexOf("/");
    if (slash < 0) {
      const [gateway, namespace] = name.split(".");
      if (namespace !== undefined) {
        yield warning(at, `is a form of old: write ${namespace}/${gateway}`);
      }
      const wrong = hostNameProblem(name);
      if (wrong !== undefined) yield problem(at, wrong);
      continue;
    }
    const gateway = name.slice(slash + 1);
    if (!isDnsLabel(name.slice(0, slash)) || (!isConverted && !isDnsLabel(gateway))) {
      yield problem(at, "must be namespace/name");
    }
  }
}
