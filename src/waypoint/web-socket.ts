/**
 * What the opening of a WebSocket says in HTTP/1.1 and not in HTTP/2 (RFC 8441 §5): the key, and
 * the proof that a server has read it (RFC 6455 §4). Where one side speaks the one and one the
 * other, the waypoint has to ask, or to prove, in the place of who does not.
 *
 * A key that came over HTTP/2 all the same is somebody's behind the client, and is passed on; so is
 * that of an HTTP/1.1 client, for who stands between an HTTP/2 backend and another of HTTP/1.1.
 */
import { createHash, randomBytes } from "node:crypto";
import { H } from "../net/http1/header-names.ts";
import type { HeadEdits } from "../net/http1/rewrite.ts";
import { ListHead } from "./list-head.ts";
import type { MessageHead } from "./message-head.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES = 16;

/** The key of one opening. */
export interface WebSocketKey {
  readonly key: string;
  /** Made here: the client knows nothing of it. */
  readonly isOwn: boolean;
}

/** `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`. */
export function acceptFor(key: string): string {
  return createHash("sha1").update(key, "latin1").update(GUID).digest("base64");
}

/** The request's key; one of our own from an HTTP/2 client to an HTTP/1.1 backend. */
export function keyOf(
  head: MessageHead,
  isToHttp2: boolean,
  edits: HeadEdits,
): WebSocketKey | undefined {
  const key = head.get(H.secWebSocketKey);
  if (key !== undefined) return { key, isOwn: false };
  // An HTTP/1.1 client without one has to explain itself to its backend.
  if (isToHttp2 || !(head instanceof ListHead)) return undefined;
  const own = randomBytes(KEY_BYTES).toString("base64");
  edits.set(H.secWebSocketKey, own);
  return { key: own, isOwn: true };
}

/** The backend has proven nothing to the client, but may have to us. */
export function provesKey(head: MessageHead, key: WebSocketKey | undefined): boolean {
  return !key?.isOwn || head.get(H.secWebSocketAccept) === acceptFor(key.key);
}

/** What the client is told of it. */
export function proveKey(head: MessageHead, key: WebSocketKey | undefined, edits: HeadEdits): void {
  if (key === undefined) return;
  if (key.isOwn) edits.remove(H.secWebSocketAccept);
  else if (!head.has(H.secWebSocketAccept)) edits.set(H.secWebSocketAccept, acceptFor(key.key));
}
