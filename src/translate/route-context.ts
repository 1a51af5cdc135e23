/**
 * What the translation of one route carries from field to field: where it stands, what it may look
 * at, and what it has found wrong so far.
 */
import type { RouteObject } from "../api/http-route.ts";
import type { FieldPath, ParsedObject } from "../api/object.ts";
import { formatFieldPath } from "../api/object.ts";
import type { DiagnosticCode } from "../kit/diagnostic.ts";
import type { AttachSurroundings } from "./attach.ts";
import type { BackendSurroundings, ResolvedBackend } from "./backends.ts";
import type { Findings } from "./findings.ts";

export type RouteSurroundings = BackendSurroundings & AttachSurroundings;

export class RouteContext {
  readonly object: ParsedObject<RouteObject>;
  readonly near: RouteSurroundings;
  readonly findings: Findings;
  /** Backends that stand for nothing: condition `ResolvedRefs`. */
  readonly unresolved: ResolvedBackend[] = [];
  /** What is not as it was written: condition `PartiallyInvalid`. */
  readonly flaws: string[] = [];

  constructor(object: ParsedObject<RouteObject>, near: RouteSurroundings, findings: Findings) {
    this.object = object;
    this.near = near;
    this.findings = findings;
  }

  /** A value that cannot be used, and what comes of it. */
  flaw(message: string, path: FieldPath, code: DiagnosticCode = "WS0102"): void {
    this.findings.report(code, message, path);
    this.flaws.push(`${formatFieldPath(path)}: ${message}`);
  }
}
