/**
 * What a client carries to come back to the same endpoint (`sessionPersistence`).
 *
 *     <22 characters>[.<issued>.<used>]      times in milliseconds, base 36
 *
 * Derived, not remembered: every waypoint and worker makes and understands the same token, and a
 * restart changes nothing. The characters are a hash of the endpoint's identity, so no name or
 * address can be read from them, masked for the rule, so a token means nothing to another rule. A
 * token only ever chooses among endpoints that the rule's backends have anyway; the worst that one
 * made up can do is to choose.
 */
import { hash } from "node:crypto";

const TAG_BYTES = 16;

/** Clocks of waypoints may differ by this; a token from a later time is made up. */
const CLOCK_SKEW_MS = 60_000;

const FORM = /^([A-Za-z0-9_-]{22})(?:\.([0-9a-z]{1,9})\.([0-9a-z]{1,9}))?$/;

function digest(...parts: readonly (string | number)[]): Buffer {
  return hash("sha256", parts.join("\n"), "buffer").subarray(0, TAG_BYTES);
}

/** An endpoint in tokens, and where they are looked up. */
export function endpointTag(owner: string, port: number, uid: string, targetPort: number): string {
  return digest("endpoint", owner, port, uid, targetPort).toString("latin1");
}

export interface SessionToken {
  readonly tag: string;
  /** When the session began, and when it was last used. NaN: it does not say. */
  readonly issuedMs: number;
  readonly usedMs: number;
}

/** Writes and reads the tokens of one rule. */
export class TokenCode {
  readonly #mask: Buffer;
  readonly #absoluteTimeoutMs: number;
  readonly #idleTimeoutMs: number;

  constructor(rule: string, timeouts: { absoluteTimeoutMs: number; idleTimeoutMs: number }) {
    this.#mask = digest("rule", rule);
    this.#absoluteTimeoutMs = timeouts.absoluteTimeoutMs;
    this.#idleTimeoutMs = timeouts.idleTimeoutMs;
  }

  get #hasTimes(): boolean {
    return this.#absoluteTimeoutMs > 0 || this.#idleTimeoutMs > 0;
  }

  write(tag: string, issuedMs: number, usedMs: number): string {
    const text = this.#masked(Buffer.from(tag, "latin1")).toString("base64url");
    return this.#hasTimes ? `${text}.${issuedMs.toString(36)}.${usedMs.toString(36)}` : text;
  }

  /** undefined: it is none, or its time is over. */
  read(text: string, nowMs: number): SessionToken | undefined {
    const found = FORM.exec(text);
    if (found === null) return undefined;
    const [, name = "", issued = "", used = ""] = found;
    const issuedMs = Number.parseInt(issued, 36);
    const usedMs = Number.parseInt(used, 36);
    if (this.#hasTimes && !this.#isInTime(issuedMs, usedMs, nowMs)) return undefined;
    const tag = this.#masked(Buffer.from(name, "base64url")).toString("latin1");
    return { tag, issuedMs, usedMs };
  }

  #isInTime(issuedMs: number, usedMs: number, nowMs: number): boolean {
    const isTold = Math.max(issuedMs, usedMs) <= nowMs + CLOCK_SKEW_MS;
    return (
      isTold &&
      (this.#absoluteTimeoutMs === 0 || nowMs - issuedMs < this.#absoluteTimeoutMs) &&
      (this.#idleTimeoutMs === 0 || nowMs - usedMs < this.#idleTimeoutMs)
    );
  }

  #masked(bytes: Buffer): Buffer {
    for (let i = 0; i < TAG_BYTES; i++) bytes[i] = bytes[i]! ^ this.#mask[i]!;
    return bytes;
  }
}
