/** What a schema cannot say of a RequestAuthentication. */
import { durationProblems } from "./istio-definitions.ts";
import { attachmentProblems } from "./istio-kinds.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";

const SCHEMES: ReadonlySet<string> = new Set(["http:", "https:"]);

export function* requestAuthenticationProblems(policy: unknown): Problems {
  yield* attachmentProblems(policy);
  yield* durationProblems(policy, ["spec.jwtRules[].timeout"]);
  for (const field of ["jwksUri", "jwks_uri"]) {
    for (const { path, value } of each<string>(policy, `spec.jwtRules[].${field}`)) {
      const isUrl = URL.canParse(value) && !/[\\\s]/.test(value);
      if (!isUrl || !SCHEMES.has(new URL(value).protocol)) {
        yield problem(path, "must be a URL of http or https");
      }
    }
  }
  for (const { path, value } of each<Record<string, unknown>>(policy, "spec.jwtRules[]")) {
    const given = ["jwksUri", "jwks_uri", "jwks"].filter((field) => value[field] !== undefined);
    if (given.length > 1) yield problem([...path, given[1]!], `and ${given[0]} exclude each other`);
  }
}
