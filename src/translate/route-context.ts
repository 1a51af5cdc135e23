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
import { type Condition, type Findings, makeCondition } from "./findings.ts";

export type RouteSurroundings = BackendSurroundings & AttachSurroundings;

export class RouteContext {
  readonly object: ParsedObject<RouteObject>;
  readonly near: RouteSurroundings;
  readonly findings: Findings;
  /** Backends that stand for nothing: condition `ResolvedRefs`. */
  readonly unresolved: ResolvedBackend[] = [];
  /** What is not as it was written: condition `PartiallyInvalid`. */
  readonly flaws: string[] = [];
  /** Indexes of the rules that are not followed: dropped, or answered 500. */
  readonly #dropped = new Set<number>();
  /** Why the first of them is not. */
  #dropReason: string | undefined;

  constructor(object: ParsedObject<RouteObject>, near: RouteSurroundings, findings: Findings) {
    this.object = object;
    this.near = near;
    this.findings = findings;
  }

  /** The rule is not followed, for a reason of the condition `Accepted`. */
  dropRule(index: number, reason: string): void {
    this.#dropped.add(index);
    this.#dropReason ??= reason;
  }

  /** Instead of `Accepted` True, when no rule of so many is followed. */
  rejection(rules: number): Condition | undefined {
    if (rules === 0 || this.#dropped.size < rules) return undefined;
    const reason =
      this.#dropReason === "IncompatibleFilters" ? this.#dropReason : "UnsupportedValue";
    return makeCondition("Accepted", false, reason, this.flaws.join("; "));
  }

  /** What of the route is not as it was written, in the words that Gateway API wants first. */
  partiallyInvalid(rules: number): Condition[] {
    const flaws = this.flaws.join("; ");
    if (flaws === "" || this.rejection(rules) !== undefined) return [];
    const dropped = [...this.#dropped].join(", ");
    const what = dropped === "" ? "Dropped Rule value(s)" : `Dropped Rule(s) ${dropped}`;
    return [makeCondition("PartiallyInvalid", true, "UnsupportedValue", `${what}: ${flaws}`)];
  }

  /** A value that cannot be used, and what comes of it. */
  flaw(message: string, path: FieldPath, code: DiagnosticCode = "WS0102"): void {
    this.findings.report(code, message, path);
    this.flaws.push(`${formatFieldPath(path)}: ${message}`);
  }
}
