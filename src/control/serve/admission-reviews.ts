/**
 * The answers of the validating webhook (AdmissionReview v1 of admission.k8s.io): objects that the
 * mesh could not use are refused before they are stored, in the words of `waystone validate`.
 *
 * Errors refuse; what the analyzer has to say comes as warnings, which kubectl shows. What is not
 * ours to judge is allowed, and so is a change that leaves what an object says as it was: its
 * finalizers must be able to go, whatever version of the rules let it in.
 */
import { isDeepStrictEqual } from "node:util";
import { type KindName, kindOf } from "../../api/kinds.ts";
import {
  type KubeObject,
  objectLabel,
  type ParsedObject,
  type Position,
} from "../../api/object.ts";
import { loadSchemas } from "../../api/schema.ts";
import { objectDiagnostics } from "../../api/validate/rules.ts";
import type { RawObject } from "../../api/yaml.ts";
import type { Diagnostic } from "../../kit/diagnostic.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";

export interface AdmissionReviewsOptions {
  /** What the mesh would say of an object that is good by itself. */
  readonly analyze: (candidate: ParsedObject) => readonly Diagnostic[];
  readonly registry: MetricRegistry;
}

/** The answer, for JSON; undefined: the text is no review. */
export type AdmissionAnswer = object | undefined;

interface AdmissionRequest {
  readonly uid: string;
  readonly operation?: unknown;
  readonly object?: unknown;
  readonly oldObject?: unknown;
}

interface Verdict {
  readonly result: "allowed" | "refused" | "not_judged";
  readonly diagnostics: readonly Diagnostic[];
}

const API_VERSION = "admission.k8s.io/v1";
const NOT_JUDGED: Verdict = { result: "not_judged", diagnostics: [] };
const NOWHERE: Position = { file: "", line: 1, column: 1 };
const nowhere = () => NOWHERE;
/** The API server cuts warnings that are longer, and drops all above 4,096 characters in sum. */
const WARNING_CHARACTERS_MAX = 256;
const WARNINGS_MAX = 15;
const ERRORS_MAX = 20;
/** An object is judged as what it will be called; until it has a name, it has this one. */
const PLACEHOLDER = "generated";

export class AdmissionReviews {
  readonly #options: AdmissionReviewsOptions;
  readonly #reviews;

  constructor(options: AdmissionReviewsOptions) {
    this.#options = options;
    this.#reviews = admissionReviews(options.registry);
  }

  /** `text` is the body of the API server's request. */
  async answer(text: string): Promise<AdmissionAnswer> {
    const request = requestOf(text);
    if (request === undefined) return undefined;
    const kind = kindOfObject(request.object);
    const { result, diagnostics } = await this.#judge(kind, request);
    this.#reviews.child([kind ?? "other", result]).add(1);
    const isAllowed = result !== "refused";
    const errors = diagnostics.filter(({ level }) => level === "error");
    const warnings = isAllowed ? diagnostics : diagnostics.filter((d) => !errors.includes(d));
    return {
      apiVersion: API_VERSION,
      kind: "AdmissionReview",
      response: {
        uid: request.uid,
        allowed: isAllowed,
        ...(isAllowed ? {} : { status: refusal(errors) }),
        ...(warnings.length > 0 ? { warnings: shortened(warnings) } : {}),
      },
    };
  }

  async #judge(kind: KindName | undefined, request: AdmissionRequest): Promise<Verdict> {
    const { operation, object, oldObject } = request;
    const isWritten = operation === "CREATE" || operation === "UPDATE";
    if (kind === undefined || !isWritten) return NOT_JUDGED;
    const value = named(object as KubeObject);
    if (operation === "UPDATE" && saysTheSame(value, oldObject)) return NOT_JUDGED;
    await loadSchemas([kind]);
    const raw: RawObject = {
      value,
      position: NOWHERE,
      positionOf: nowhere,
      positionOfKey: nowhere,
    };
    const found = objectDiagnostics(kind, raw, objectLabel(value));
    if (found.some(({ level }) => level === "error")) {
      return { result: "refused", diagnostics: found };
    }
    const advice = this.#options.analyze({ kind, value, position: NOWHERE, positionOf: nowhere });
    return { result: "allowed", diagnostics: [...found, ...advice] };
  }
}

/** The metric of a validating webhook. */
export function admissionReviews(registry: MetricRegistry) {
  return registry.counter(
    "waystone_admission_reviews_total",
    "Objects that the API server asked about before it stored them.",
    ["kind", "result"],
  );
}

function requestOf(text: string): AdmissionRequest | undefined {
  let review: unknown;
  try {
    review = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { apiVersion, kind, request } = (review ?? {}) as Record<string, unknown>;
  const isReview = apiVersion === API_VERSION && kind === "AdmissionReview";
  if (!isReview || typeof request !== "object" || request === null) return undefined;
  return typeof (request as AdmissionRequest).uid === "string"
    ? (request as AdmissionRequest)
    : undefined;
}

/** Undefined: no object, or none of a kind that a mesh reads. */
function kindOfObject(object: unknown): KindName | undefined {
  const { apiVersion, kind, metadata } = (object ?? {}) as Partial<KubeObject>;
  if (typeof apiVersion !== "string" || typeof kind !== "string") return undefined;
  if (typeof metadata !== "object" || metadata === null) return undefined;
  return kindOf(apiVersion, kind);
}

function named(object: KubeObject): KubeObject {
  const { metadata } = object;
  return metadata.name ? object : { ...object, metadata: { ...metadata, name: PLACEHOLDER } };
}

/** All but metadata and status. */
function saysTheSame(object: KubeObject, before: unknown): boolean {
  if (typeof before !== "object" || before === null) return false;
  const { metadata, status, apiVersion, ...said } = object;
  const { metadata: _, status: __, apiVersion: ___, ...saidBefore } = before as KubeObject;
  return isDeepStrictEqual(said, saidBefore);
}

/** As the API server refuses what its own schema does not allow. */
function refusal(errors: readonly Diagnostic[]): object {
  const told = errors.slice(0, ERRORS_MAX).map(({ code, message }) => `${message} [${code}]`);
  const left = errors.length - told.length;
  const message = [...told, ...(left > 0 ? [`and ${left} more`] : [])].join("; ");
  return { status: "Failure", code: 422, reason: "Invalid", message };
}

function shortened(warnings: readonly Diagnostic[]): string[] {
  return warnings.slice(0, WARNINGS_MAX).map(({ code, message }) => {
    const text = `${message} [${code}]`;
    return text.length <= WARNING_CHARACTERS_MAX
      ? text
      : `${text.slice(0, WARNING_CHARACTERS_MAX - 1)}…`;
  });
}
