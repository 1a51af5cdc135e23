/** What a schema cannot say of an AuthorizationPolicy. */
import { attachmentProblems } from "./istio-kinds.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";

type Source = Readonly<Record<string, readonly string[] | undefined>>;

const IDENTITIES = ["principals", "notPrincipals", "namespaces", "notNamespaces"];

export function* authorizationPolicyProblems(policy: unknown): Problems {
  yield* attachmentProblems(policy);
  for (const { path, value } of each<Source>(policy, "spec.rules[].from[].source")) {
    const account = ["serviceAccounts", "notServiceAccounts"].find((field) => value[field]);
    const other = IDENTITIES.find((field) => value[field] !== undefined);
    if (account === undefined || other === undefined) continue;
    yield problem(
      [...path, account],
      `and ${other} exclude each other: an account has a namespace`,
    );
  }
}
