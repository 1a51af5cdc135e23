import type { HeadProblem } from "./head.ts";

/** Why a head is refused, and with which status. */
export function bad(detail: string, status: HeadProblem["status"] = 400): HeadProblem {
  return { status, detail };
}
