/**
 * What the definitions of Istio's kinds say beside their schemas, by the parts that several kinds
 * have: selectors, targets, durations, ports.
 */

import { parseGoDuration } from "../../kit/go-duration.ts";
import type { FieldPath } from "../object.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";

type Texts = Readonly<Record<string, string>>;

const PORT_MAX = 65_535;

/** `selector.matchLabels` and its like: labels are compared as they stand. */
export function* selectorProblems(object: unknown, ...patterns: readonly string[]): Problems {
  for (const pattern of patterns) {
    for (const { path, value } of each<Texts>(object, pattern)) {
      for (const [name, text] of Object.entries(value)) {
        const at = [...path, name];
        if (name === "") yield problem(path, "has a label without a name");
        if (name.includes("*")) yield problem(at, 'is no name of a label: there is no "*" in one');
        if (text.includes("*")) {
          yield problem(at, `${JSON.stringify(text)} has a "*": values are compared as they stand`);
        }
      }
    }
  }
}

/** Of fields that exclude each other one at most is there. */
export function* exclusiveProblems(
  object: unknown,
  pattern: string,
  fields: readonly string[],
): Problems {
  for (const { path, value } of each<Readonly<Record<string, unknown>>>(object, pattern)) {
    const [first, ...others] = fields.filter((field) => value[field] !== undefined);
    for (const other of others) yield problem([...path, other], `and ${first} exclude each other`);
  }
}

/** The policy's own namespace is the only one, and goes without saying. */
export function* targetNamespaceProblems(object: unknown): Problems {
  for (const pattern of ["spec.targetRef.namespace", "spec.targetRefs[].namespace"]) {
    for (const { path, value } of each<string>(object, pattern)) {
      if (value !== "") yield problem(path, "must be empty: a target is in the policy's namespace");
    }
  }
}

/** At least a millisecond, where a duration is given. */
export function* durationProblems(
  object: unknown,
  patterns: readonly string[],
  from: FieldPath = [],
): Problems {
  for (const pattern of patterns) {
    for (const { path, value } of each<string>(object, pattern, from)) {
      const ms = parseGoDuration(String(value));
      if (ms === undefined) yield problem(path, 'must be a duration such as "10s" or "1m30s"');
      else if (ms < 1) yield problem(path, "must be at least 1ms");
      else if (!Number.isInteger(ms)) yield problem(path, "must be whole milliseconds");
    }
  }
}

/** Numbers that are ports. */
export function* portProblems(
  object: unknown,
  patterns: readonly string[],
  from: FieldPath = [],
): Problems {
  for (const pattern of patterns) {
    for (const { path, value } of each<number>(object, pattern, from)) {
      if (!(value >= 1 && value <= PORT_MAX)) yield problem(path, "must be a port, 1 to 65535");
    }
  }
}

const DOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_NAME = new RegExp(`^(${DOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`);
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** Labels as Kubernetes has them. */
export function* labelProblems(labels: Texts | undefined, path: FieldPath): Problems {
  for (const [name, text] of Object.entries(labels ?? {})) {
    if (!LABEL_NAME.test(name)) yield problem([...path, name], "is no name of a label");
    if (!LABEL_VALUE.test(text)) {
      yield problem([...path, name], `${JSON.stringify(text)} is no value of a label`);
    }
  }
}
