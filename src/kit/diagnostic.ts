/**
 * What is wrong with what people wrote: values, collected, never thrown.
 *
 * `docs/reference/diagnostics.md` is checked against the table below. Codes are stable; a code that
 * is no longer used is not given to something else.
 */
export type DiagnosticLevel = "error" | "warning" | "info";

interface DiagnosticKind {
  readonly name: string;
  readonly level: DiagnosticLevel;
  /** What it means and what to do about it, for the reference page. */
  readonly description: string;
}

/**
 * Every diagnostic code. Errors of WS00xx refuse the edit whole (D11); the others are accepted with
 * their effect.
 */
export const DIAGNOSTICS = {
  WS0001: {
    name: "SyntaxError",
    level: "error",
    description: "The file is not YAML. Correct the place named.",
  },
  WS0002: {
    name: "SchemaViolation",
    level: "error",
    description:
      "A field has the wrong type, an unknown name, or a value outside its schema. Correct the field named.",
  },
  WS0003: {
    name: "UnknownKind",
    level: "warning",
    description: "The object's apiVersion and kind are not ones that a mesh reads. It is ignored.",
  },
  WS0004: {
    name: "DuplicateObject",
    level: "error",
    description: "Two documents describe the same object. Remove one.",
  },
  WS0005: {
    name: "NotAnObject",
    level: "error",
    description: "A document lacks apiVersion, kind or metadata.name.",
  },
  WS0006: {
    name: "TooLarge",
    level: "error",
    description: "A file or the whole configuration exceeds its limit.",
  },
  WS0007: {
    name: "FileUnreadable",
    level: "error",
    description: "A file or folder that was given does not exist or cannot be read.",
  },
  WS0101: {
    name: "ReferencedResourceNotFound",
    level: "error",
    description: "A reference names something that does not exist. Create it, or correct the name.",
  },
  WS0102: {
    name: "InvalidValue",
    level: "error",
    description:
      "A value parses but cannot be used. The part it stands in has the effect that the specification gives.",
  },
  WS0103: {
    name: "WaypointUnusable",
    level: "error",
    description:
      "A use-waypoint label names a waypoint that is missing, not ready, or not permitted. Traffic is refused until it is.",
  },
  WS0104: {
    name: "PolicyUnenforceable",
    level: "warning",
    description: "Some of a policy cannot be evaluated where it applies; it fails closed.",
  },
  WS0105: {
    name: "NotInterpreted",
    level: "warning",
    description: "The object is valid, but this version does not act on it.",
  },
  WS0106: {
    name: "PolicyWithoutEffect",
    level: "warning",
    description: "The policy applies to nothing: its target is missing or not bound to a waypoint.",
  },
  WS0107: {
    name: "FieldIgnored",
    level: "warning",
    description: "A field has no effect where it stands.",
  },
} as const satisfies Record<string, DiagnosticKind>;

export type DiagnosticCode = keyof typeof DIAGNOSTICS;

export interface Diagnostic {
  readonly code: DiagnosticCode;
  readonly level: DiagnosticLevel;
  /** One sentence; what to do stands in it. */
  readonly message: string;
  /** `Kind ns/name`; absent when no object could be read. */
  readonly object?: string | undefined;
  /** The field: `spec.rules[0].to[0].operation.ports[0]`. */
  readonly path?: string | undefined;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
}

export function diagnostic(
  code: DiagnosticCode,
  message: string,
  where: Omit<Diagnostic, "code" | "level" | "message"> = {},
): Diagnostic {
  return { code, level: DIAGNOSTICS[code].level, message, ...where };
}

/** `Error [WS0002] (HTTPRoute default/reviews file.yaml:12:5) message`, the form of `istioctl analyze`. */
export function formatDiagnostic(d: Diagnostic): string {
  const level = d.level[0]!.toUpperCase() + d.level.slice(1);
  const place = d.file && `${d.file}${d.line ? `:${d.line}:${d.column ?? 1}` : ""}`;
  const where = [d.object, place].filter(Boolean).join(" ");
  return `${level} [${d.code}]${where ? ` (${where})` : ""} ${d.message}`;
}
