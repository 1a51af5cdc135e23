/** What a schema cannot say of a ServiceEntry. */
import type { FieldPath } from "../object.ts";
import {
  endpointProblems,
  exclusiveProblems,
  placeProblems,
  portProblems,
  selectorProblems,
} from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem } from "./problem.ts";
import { unique } from "./uniqueness.ts";

interface Port {
  readonly name: string;
  readonly number: number;
}

export interface ServiceEntrySpec {
  readonly addresses?: readonly string[];
  readonly ports?: readonly Port[];
  readonly resolution?: string;
  readonly endpoints?: readonly object[];
}

const WITH_RANGES: ReadonlySet<string> = new Set(["NONE", "STATIC"]);

export function* serviceEntryProblems(entry: unknown): Problems {
  yield* selectorProblems(entry, "spec.workloadSelector.labels");
  yield* exclusiveProblems(entry, "spec", ["workloadSelector", "endpoints"]);
  yield* portProblems(entry, ["spec.ports[].number", "spec.ports[].targetPort"]);
  for (const { path, value } of each<ServiceEntrySpec>(entry, "spec")) {
    yield* portListProblems(value, path);
    yield* resolutionProblems(value, path);
  }
  for (const { path, value } of each<object>(entry, "spec.endpoints[]")) {
    yield* placeProblems(value, path);
    yield* endpointProblems(value, path);
  }
}

function* portListProblems({ ports }: ServiceEntrySpec, path: FieldPath): Problems {
  const at = [...path, "ports"];
  const named = (name: string) => `a port of the name ${name}`;
  yield* unique(ports, at, ({ name }) => name, named, ["name"]);
  const numbered = (number: string) => `the port ${number}`;
  yield* unique(ports, at, ({ number }) => String(number), numbered, ["number"]);
}

function* resolutionProblems(spec: ServiceEntrySpec, path: FieldPath): Problems {
  const { addresses = [], resolution = "NONE", endpoints } = spec;
  const range = addresses.findIndex((address) => address.includes("/"));
  if (range >= 0 && !WITH_RANGES.has(resolution)) {
    yield problem(
      [...path, "addresses", range],
      "may be a range with resolution NONE or STATIC only",
    );
  }
  if (resolution === "NONE" && endpoints !== undefined) {
    yield problem([...path, "endpoints"], "are not for resolution NONE, where clients name them");
  }
  if (resolution === "DNS_ROUND_ROBIN" && (endpoints?.length ?? 0) > 1) {
    yield problem([...path, "endpoints"], "may be one at most with resolution DNS_ROUND_ROBIN");
  }
}
