/** A request's head for a backend, in the protocol that its port speaks. */
import type { AppProtocol } from "../model/service.ts";
import { Http1Head, parseRequestHead } from "../net/http1/head.ts";
import { type HeadEdits, headBytesMax, writeRequestHead } from "../net/http1/rewrite.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import { requestList, requestText } from "./http2-heads.ts";
import { ListHead } from "./list-head.ts";
import type { MessageHead } from "./message-head.ts";

/** What the port declares; where it does not say, what the client speaks (protocols.md §6.4). */
export function speaksHttp2(protocol: AppProtocol, isClientHttp2: boolean): boolean {
  if (protocol === "HTTP2" || protocol === "GRPC") return true;
  return protocol !== "HTTP11" && isClientHttp2;
}

export interface EncodedHead {
  readonly bytes: Buffer | null;
  readonly list: HeaderList | null;
}

/** In memory of its own; an exchange's head goes into a buffer that is used again (rewrite.ts). */
export function encodeHead(
  head: MessageHead,
  edits: HeadEdits,
  protocol: AppProtocol,
  isClientHttp2: boolean,
): EncodedHead {
  if (speaksHttp2(protocol, isClientHttp2)) return { bytes: null, list: requestList(head, edits) };
  if (head instanceof ListHead) {
    return { bytes: Buffer.from(requestText(head, edits), "latin1"), list: null };
  }
  const out = Buffer.allocUnsafe(headBytesMax(head, edits));
  return { bytes: out.subarray(0, writeRequestHead(head, edits, out, 0)), list: null };
}

/** A request's head that outlives the turn in which it was read. */
export function copyHead(head: MessageHead): MessageHead {
  if (head instanceof ListHead) {
    const copy = new ListHead();
    copy.readRequest(head.list, head.framing === "none");
    return copy;
  }
  const bytes = Buffer.from(head.bytes.subarray(head.start, head.end));
  const copy = new Http1Head();
  parseRequestHead(copy, bytes, 0, bytes.length);
  return copy;
}

/** Names in lower case and values, as they came: name, value, name, value … */
export function fieldsOf(head: MessageHead): string[] {
  if (head instanceof ListHead) return head.list.slice(head.start);
  const fields: string[] = [];
  for (let i = 0; i < head.count; i++) fields.push(head.name(i), head.value(i));
  return fields;
}
