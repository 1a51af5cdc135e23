/**
 * What a client is told, and the access log, when no attempt brought an answer: by what befell the
 * last one, in Envoy's words and flags. `URX` says that more attempts would have been made.
 */
import { LOCAL_REPLIES, type LocalReply } from "./local-replies.ts";
import type { UpstreamFailure } from "./upstream.ts";

export type AttemptFailure = UpstreamFailure | "connect" | "attemptTimeout";

const REPLIES: Record<AttemptFailure, LocalReply> = {
  connect: LOCAL_REPLIES.connectFailed,
  reset: LOCAL_REPLIES.upstreamReset,
  streamReset: LOCAL_REPLIES.upstreamStreamReset,
  refused: LOCAL_REPLIES.upstreamRefused,
  protocol: LOCAL_REPLIES.upstreamProtocolError,
  upgrade: LOCAL_REPLIES.noExtendedConnect,
  timeout: LOCAL_REPLIES.requestTimeout,
  attemptTimeout: LOCAL_REPLIES.attemptTimeout,
};

function again({ status, body, flags, details }: LocalReply): LocalReply {
  const text = body.replace(/^(.*)(?=reset reason:)/, "$1retried and the latest ");
  return { status, body: text, flags, details };
}

function exhausted(reply: LocalReply): LocalReply {
  return { ...again(reply), flags: `${reply.flags},URX` };
}

function each(change: (reply: LocalReply) => LocalReply): Record<AttemptFailure, LocalReply> {
  const changed = { ...REPLIES };
  for (const kind of Object.keys(REPLIES) as AttemptFailure[])
    changed[kind] = change(REPLIES[kind]);
  return changed;
}

const AGAIN = each(again);
const EXHAUSTED = each(exhausted);

export function failureReply(
  kind: AttemptFailure,
  attempts: number,
  isExhausted: boolean,
): LocalReply {
  if (isExhausted) return EXHAUSTED[kind];
  return attempts > 1 ? AGAIN[kind] : REPLIES[kind];
}
