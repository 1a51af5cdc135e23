/** The `when` of an AuthorizationPolicy: which attributes there are, and what values they take. */
import type { FieldPath } from "../object.ts";
import {
  accountProblem,
  addressProblem,
  portProblem,
  wildcardTextProblem,
} from "./attribute-values.ts";
import { type Problems, problem } from "./problem.ts";

export interface When {
  readonly key?: string;
  readonly values?: readonly string[];
  readonly notValues?: readonly string[];
}

type Wrong = (text: string) => string | undefined;

const ANYTHING: Wrong = () => undefined;

const ATTRIBUTES: Readonly<Record<string, Wrong>> = {
  "source.ip": addressProblem,
  "remote.ip": addressProblem,
  "source.namespace": ANYTHING,
  "source.serviceAccount": accountProblem,
  "source.principal": ANYTHING,
  "source.trustDomain": wildcardTextProblem,
  "request.auth.principal": ANYTHING,
  "request.auth.audiences": ANYTHING,
  "request.auth.presenter": ANYTHING,
  "destination.ip": addressProblem,
  "destination.port": portProblem,
  "connection.sni": ANYTHING,
};
/** With a name in brackets behind them. */
const MAPS = ["request.headers", "request.auth.claims", "experimental.envoy.filters."];
const GONE: Readonly<Record<string, string>> = {
  "destination.namespace": "is the policy's own namespace",
  "destination.name": "is gone: name the Service in targetRefs",
  "destination.user": "is gone: select its workloads",
};

export function* conditionProblems(when: When | null, path: FieldPath): Problems {
  const { key = "", values, notValues } = when ?? {};
  if (key === "") {
    yield problem([...path, "key"], "is required");
    return;
  }
  if ((values?.length ?? 0) === 0 && (notValues?.length ?? 0) === 0) {
    yield problem(path, "needs values or notValues");
    return;
  }
  const known = keyProblem(key);
  if (known !== undefined) yield problem([...path, "key"], known);
  const wrong = ATTRIBUTES[key] ?? ANYTHING;
  for (const [field, texts] of Object.entries({ values, notValues })) {
    for (const [i, text] of (texts ?? []).entries()) {
      const message = text === "" ? "must not be empty" : wrong(text);
      if (message !== undefined) yield problem([...path, field, i], message);
    }
  }
}

function keyProblem(key: string): string | undefined {
  if (Object.hasOwn(ATTRIBUTES, key)) return undefined;
  if (Object.hasOwn(GONE, key)) return GONE[key];
  if (key.startsWith("destination.labels")) return "is the policy's selector";
  if (!MAPS.some((prefix) => key.startsWith(prefix))) return "is no attribute that there is";
  return /^[^[]+\[.+\]$/.test(key) ? undefined : "must have a name in brackets, as a[b]";
}
