/** L4 policies for tests, of the whole namespace `default`. */
import type { L4Match, L4Policy } from "../../src/model/rule.ts";

const ANYTHING: L4Match = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

export function l4Policy(
  name: string,
  action: "ALLOW" | "DENY",
  match: Partial<L4Match>,
): L4Policy {
  return {
    key: `default/${name}`,
    namespace: "default",
    name,
    scope: "NAMESPACE",
    action,
    rules: [{ clauses: [[{ ...ANYTHING, ...match }]], position: undefined }],
    isDryRun: false,
    source: { kind: "AuthorizationPolicy", namespace: "default", name },
    position: undefined,
    because: undefined,
  };
}
