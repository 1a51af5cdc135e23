/**
 * What keeps kinds from being read, said once and not with every try, and once more when it is
 * over. A server that is away is one line, however many kinds wait for it.
 */
import { KINDS, type Kind, type KindName } from "../../../api/kinds.ts";
import type { Logger } from "../../../kit/log.ts";
import type { ServedKind } from "./discovery.ts";
import { isEssential } from "./watched-kinds.ts";

/** A server that comes and goes is a line in so much time. */
const QUIET_MS = 60_000;

export class Faults {
  readonly #log: Logger;
  /** Kinds that wait for the server, and whether that was said. */
  readonly #waiting = new Set<KindName>();
  #isAwayTold = false;
  #awayToldMs = Number.NEGATIVE_INFINITY;
  readonly #forbidden = new Map<KindName, string>();
  readonly #missing = new Set<KindName>();
  /** From then on, one by one; before, all that are missing in one line. */
  #hasStarted = false;

  constructor(logger: Logger) {
    this.#log = logger;
  }

  /** The server cannot be reached, or has trouble of its own. */
  away(kind: KindName, reason: string): void {
    this.#waiting.add(kind);
    if (this.#isAwayTold) return;
    const nowMs = performance.now();
    if (nowMs - this.#awayToldMs < QUIET_MS) return;
    this.#isAwayTold = true;
    this.#awayToldMs = nowMs;
    const message = this.#hasStarted
      ? "the API server does not answer; what was read stays in force, and it is tried again"
      : "the API server does not answer; it is tried again";
    this.#log.warn({ reason }, message);
  }

  /** `verb` may not be done: says what to grant. */
  forbidden(kind: KindName, verb: "list" | "watch" | "discover", served?: ServedKind): void {
    this.#answered(kind);
    if (this.#forbidden.get(kind) === verb) return;
    this.#forbidden.set(kind, verb);
    if (served === undefined) {
      const message = "the API server does not let us ask which kinds it has";
      this.#log.error({ kind, grant: "ClusterRole system:discovery" }, message);
      return;
    }
    const { group, plural } = served;
    const grant = { apiGroups: [group], resources: [plural], verbs: ["list", "watch"] };
    const isHolding = verb === "list" && isEssential(kind) && !this.#hasStarted;
    const effect = isHolding
      ? "nothing is served before it can be read"
      : verb === "watch"
        ? "changes are seen late"
        : this.#hasStarted
          ? "what was read of it stays in force"
          : "it is done without";
    const fields = { kind: nameOf(kind), grant: JSON.stringify(grant) };
    this.#log.error(fields, `not permitted to ${verb} ${plural}: ${effect}`);
  }

  missing(kind: KindName): void {
    this.#answered(kind);
    if (this.#missing.has(kind)) return;
    this.#missing.add(kind);
    if (this.#hasStarted)
      this.#log.warn({ kind: nameOf(kind) }, "the API server does not have this kind");
  }

  /** The kind is listed or watched: what kept it from that is over. */
  done(kind: KindName, verb: "list" | "watch"): void {
    this.#answered(kind);
    // Who may list may still not watch.
    const isOver = verb === "watch" || this.#forbidden.get(kind) !== "watch";
    if (isOver && this.#forbidden.delete(kind)) {
      this.#log.info({ kind: nameOf(kind) }, "the kind can be read now");
    }
    if (this.#missing.delete(kind))
      this.#log.info({ kind: nameOf(kind) }, "the API server has this kind now");
  }

  /** Every kind has been read or is known not to be there. */
  started(): void {
    this.#hasStarted = true;
    if (this.#missing.size === 0) return;
    const kinds = [...this.#missing].map(nameOf).sort();
    this.#log.info({ kinds }, "kinds that the API server does not have; they are looked for");
  }

  #answered(kind: KindName): void {
    this.#waiting.delete(kind);
    if (this.#waiting.size > 0 || !this.#isAwayTold) return;
    this.#isAwayTold = false;
    this.#log.info("the API server answers again");
  }
}

/** As objects spell it; with its group when there are two of that name. */
function nameOf(kind: KindName): string {
  const { group, spelling }: Kind = KINDS[kind];
  return spelling === undefined ? kind : `${spelling}.${group}`;
}
