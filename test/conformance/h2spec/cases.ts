/**
 * What a case is. `outcome`, in words:
 *
 *     fine          nothing is reset or ended, and the connection goes on
 *     answered 1    the same, and the message on stream 1 has arrived
 *     RST 1 5       stream 1, and nothing else, is reset with that code; the connection goes on
 *     GOAWAY 1      the connection ends with that code
 */
import { ends, type Frame, frame, T } from "../../support/peer.ts";
import type { Side, SideName } from "./sides.ts";

export interface Case {
  /** In h2spec's list: part, section, number. */
  readonly id: string;
  /** The rule, where it is not the section of that number of RFC 9113 or 7541. */
  readonly rule?: string;
  /** Default: all four sides. Others have no such message, or no such state. */
  readonly on?: readonly SideName[];
  readonly outcome?: string;
  readonly send?: (side: Side) => readonly Buffer[];
  /** Instead of both: a dialogue. */
  readonly run?: (side: Side) => Promise<void>;
}

/** Cases that need a stream whose other direction goes on behind END_STREAM. */
export const HALF_CLOSED: readonly SideName[] = ["tunnel listener", "waypoint", "tunnel upstream"];
export const LISTENERS: readonly SideName[] = ["tunnel listener", "waypoint"];

const PROBE = Buffer.from("h2-alive");

export const ping = (payload = PROBE, flags = 0) => frame(T.ping, flags, 0, payload);

export function isPong({ type, flags, payload }: Frame): boolean {
  return type === T.ping && flags === 1 && payload.equals(PROBE);
}

/** How a side that has been sent something took it, in the words of an outcome. */
export async function outcomeOf(side: Side, expected: string): Promise<string> {
  if (expected.startsWith("GOAWAY")) {
    const found = ends(await side.frames());
    return side.isOver() ? found.at(-1)! : `${found.join()}, and it goes on`;
  }
  if (expected.startsWith("answered")) await side.answer();
  const frames = await side.frames();
  side.send(ping());
  const isAlive = (await side.frames()).some(isPong);
  if (!isAlive) return `${ends(frames).join()}, and no answer to PING`;
  const id = Number(expected.split(" ")[1]);
  const found = ends(frames);
  if (found.length > 0) return found.join();
  return expected.startsWith("answered") && side.hasArrived(id, frames) ? expected : "fine";
}
