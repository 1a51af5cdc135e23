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
  WS0008: {
    name: "RuleViolation",
    level: "error",
    description:
      "Fields contradict each other, or a value has not the form that its kind asks for, so that an API server or Istio's webhook would refuse the object. Correct the field named.",
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
  WS0108: {
    name: "SelectorMissesWaypoint",
    level: "warning",
    description:
      "A policy's selector takes a waypoint's pods, or it denies clients by who they are where only their waypoint is seen. Selectors are for ztunnels: name the Service or the Gateway in targetRefs.",
  },
  WS0109: {
    name: "WrongTargetGroup",
    level: "error",
    description:
      "A targetRef names a kind of another API group. The policy does nothing there. Set the group named.",
  },
  WS0110: {
    name: "PolicyInOtherNamespace",
    level: "error",
    description:
      "A policy's target stands in another namespace, which no policy may name. Move the policy there.",
  },
  WS0111: {
    name: "HttpAttributesAtZtunnel",
    level: "warning",
    description:
      "A policy for ztunnels asks about HTTP, which they do not see: an ALLOW leaves such rules out, a DENY denies without asking. Name targets that a waypoint serves.",
  },
  WS0112: {
    name: "HttpDenyAtZtunnel",
    level: "warning",
    description:
      "A DENY for ztunnels asks about HTTP and nothing else: every connection is denied (with compatibility: istio none is). Name targets that a waypoint serves.",
  },
  WS0113: {
    name: "WaypointLockedOut",
    level: "warning",
    description:
      "Policies at a ztunnel do not let in the waypoint of a Service, so nothing that the waypoint forwards arrives. Let its identity in, and judge clients at the waypoint.",
  },
  WS0114: {
    name: "RuleNeverMatches",
    level: "warning",
    description: "No request can satisfy a rule. Correct the field named.",
  },
  WS0115: {
    name: "PrincipalNeverMatches",
    level: "warning",
    description:
      "A principal is not written as <trust domain>/ns/<namespace>/sa/<service account>, or its trust domain is not the mesh's: no client has it.",
  },
  WS0116: {
    name: "NamespaceNotAmbient",
    level: "warning",
    description:
      "A policy, or a use-waypoint label, needs a namespace in the mesh that is not: no ztunnel guards its workloads, and its clients have no identity. Add the label istio.io/dataplane-mode: ambient.",
  },
  WS0117: {
    name: "JwtConditionWithoutAuthentication",
    level: "warning",
    description:
      "A rule asks about a token that no RequestAuthentication verifies where the policy applies, so it sees none. Attach one to the same target.",
  },
  WS0118: {
    name: "Discouraged",
    level: "warning",
    description:
      "A value is allowed, but does not do what its author will expect. Correct the field named.",
  },
} as const satisfies Record<string, DiagnosticKind>;

export type DiagnosticCode = keyof typeof DIAGNOSTICS;

/** Steps from an object's root to a part of it: `["spec", "rules", 0]`. */
type Steps = readonly (string | number)[];

/** One change to one object (`Kind ns/name`), as a person makes it in a file. */
export type Edit =
  | {
      readonly op: "set";
      readonly object: string;
      readonly path: Steps;
      readonly value: unknown;
    }
  /** To the end of a list, which is made when it is not there. */
  | {
      readonly op: "append";
      readonly object: string;
      readonly path: Steps;
      readonly value: unknown;
    }
  | { readonly op: "remove"; readonly object: string; readonly path: Steps }
  /** A new object, whole. */
  | { readonly op: "create"; readonly object: string; readonly value: object };

/** All of its edits together put it right. */
export type Remedy = readonly Edit[];

export interface Diagnostic {
  readonly code: DiagnosticCode;
  readonly level: DiagnosticLevel;
  /** One sentence; what to do stands in it. */
  readonly message: string;
  /** What the end of the message says, for programs; absent: words alone say what to do. */
  readonly remedy?: Remedy | undefined;
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

/** Whether what has it is not used at all, and the edit that brings it is refused. */
export function isRefusing({ code, level }: Diagnostic): boolean {
  return level === "error" && code.startsWith("WS00");
}

/** `Error [WS0002] (HTTPRoute default/reviews file.yaml:12:5) message`, the form of `istioctl analyze`. */
export function formatDiagnostic(d: Diagnostic): string {
  const level = d.level[0]!.toUpperCase() + d.level.slice(1);
  const place = d.file && `${d.file}${d.line ? `:${d.line}:${d.column ?? 1}` : ""}`;
  const where = [d.object, place].filter(Boolean).join(" ");
  return `${level} [${d.code}]${where ? ` (${where})` : ""} ${d.message}`;
}
