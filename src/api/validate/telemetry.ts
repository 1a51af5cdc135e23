/** What a schema cannot say of a Telemetry. */
import type { FieldPath } from "../object.ts";
import { durationProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { attachmentProblems } from "./policy-attachment.ts";
import { type Problems, problem, warning } from "./problem.ts";

interface TagOverride {
  readonly operation?: string;
  readonly value?: string;
}

interface CustomTag {
  readonly literal?: { readonly value?: string };
  readonly header?: { readonly name?: string };
  readonly environment?: { readonly name?: string };
}

interface Tracing {
  readonly providers?: readonly unknown[];
  readonly randomSamplingPercentage?: number;
  readonly customTags?: Readonly<Record<string, CustomTag | null>>;
}

const PROVIDERS = ["metrics", "tracing", "accessLogging"];
const PERCENT_MAX = 100;

export function* telemetryProblems(telemetry: unknown): Problems {
  yield* attachmentProblems(telemetry);
  yield* durationProblems(telemetry, ["spec.metrics[].reportingInterval"]);
  for (const of of PROVIDERS) {
    const providers = `spec.${of}[].providers[]`;
    for (const { path, value } of each<{ name?: string }>(telemetry, providers)) {
      if ((value.name ?? "") === "") yield problem([...path, "name"], "is required");
    }
  }
  const tags = "spec.metrics[].overrides[].tagOverrides{}";
  for (const { path, value } of each<TagOverride>(telemetry, tags)) {
    yield* tagProblems(value, path);
  }
  for (const { path, value } of each<readonly Tracing[]>(telemetry, "spec.tracing")) {
    if (value.length > 1) yield warning([...path, 1], "has no effect: the first one counts");
    for (const [i, tracing] of value.entries()) yield* tracingProblems(tracing, [...path, i]);
  }
}

/** To set a tag is what an override does that does not say what it does. */
function* tagProblems({ operation = "UPSERT", value }: TagOverride, path: FieldPath): Problems {
  if (path.at(-1) === "") yield warning(path, "has no name of a tag");
  if (operation === "UPSERT" && (value ?? "") === "") {
    yield problem([...path, "value"], "is required to set a tag");
  }
  if (operation === "REMOVE" && value !== undefined) {
    yield problem([...path, "value"], "is not for a tag that is removed");
  }
}

function* tracingProblems(tracing: Tracing, path: FieldPath): Problems {
  const { providers = [], randomSamplingPercentage: share = 0, customTags = {} } = tracing;
  if (providers.length > 1) {
    yield warning([...path, "providers", 1], "has no effect: the first one counts");
  }
  if (share < 0 || share > PERCENT_MAX) {
    yield problem([...path, "randomSamplingPercentage"], "must be from 0 to 100");
  }
  for (const [name, tag] of Object.entries(customTags)) {
    const at = [...path, "customTags", name];
    if (name === "") yield problem(at, "has no name of a tag");
    if (tag === null) {
      yield problem(at, "must not be null");
      continue;
    }
    const { literal, header, environment } = tag;
    for (const [field, of] of Object.entries({ literal, header, environment })) {
      const part = field === "literal" ? "value" : "name";
      const text = (of as Record<string, string | undefined> | undefined)?.[part];
      if (of !== undefined && (text ?? "") === "")
        yield problem([...at, field, part], "is required");
    }
  }
}
