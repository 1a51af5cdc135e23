/**
 * A request's or response's head as the stages see it, whatever protocol it came in. `Http1Head`
 * has it as bytes, `ListHead` as HTTP/2's list; both are checked to the same grammar before anybody
 * looks at them, so either may go out in the other's form.
 */
import type { Framing, Http1Head } from "../net/http1/head.ts";
import type { ListHead } from "./list-head.ts";

export interface HeadFacts {
  // Request
  readonly method: string;
  readonly path: string;
  /** Without `?`. */
  readonly query: string;
  readonly authority: string;
  readonly isAbsoluteTarget: boolean;
  /** `websocket` when it is asked for; else "". */
  readonly upgrade: string;
  // Response
  readonly status: number;

  readonly framing: Framing;
  /** What it took on the wire, or would have without compression. */
  readonly headBytes: number;
  has(id: number): boolean;
  get(id: number): string | undefined;
  /** `name` is in lower case. */
  getByName(name: string): string | undefined;
}

export type MessageHead = Http1Head | ListHead;
