/**
 * Heads in the form that the next hop speaks: lists for HTTP/2, bytes for HTTP/1.1, from either.
 *
 * From list to list what stays is copied, from bytes to bytes too (net/http1/rewrite.ts). Between
 * the two forms only text that both grammars allow can pass: `ListHead` has seen to it.
 */
import { STATUS_CODES } from "node:http";
import { FORBIDDEN_TRAILERS } from "../net/http1/body.ts";
import type { Http1Head } from "../net/http1/head.ts";
import { H } from "../net/http1/header-names.ts";
import {
  acceptsTrailers,
  type HeadEdits,
  keptHeaders,
  originForm,
  type ResponseHeadOptions,
} from "../net/http1/rewrite.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import { ListHead } from "./list-head.ts";
import type { MessageHead } from "./message-head.ts";
import type { Trailers } from "./upstream.ts";

/** A request as it goes to an HTTP/2 server. */
export function requestList(head: MessageHead, edits: HeadEdits): string[] {
  const path = edits.target ?? (head instanceof ListHead ? head.target : originForm(head));
  const isConnect = head.upgrade !== "";
  const list = [":method", isConnect ? "CONNECT" : head.method, ":scheme", "http", ":path", path];
  if (isConnect) {
    // RFC 8441 §4
    list.push(":protocol", head.upgrade.toLowerCase());
    edits.remove(H.contentLength);
  }
  const authority = edits.authority ?? head.authority;
  if (authority !== "") list.push(":authority", authority);
  edits.remove(H.host);
  if (head instanceof ListHead) keepFields(head, edits, list);
  else {
    keptHeaders(head, edits, list);
    if (head.has(H.contentLength) && !isConnect) {
      list.push("content-length", String(head.contentLength));
    }
    if (acceptsTrailers(head)) list.push("te", "trailers");
  }
  return list;
}

/** A response as it goes to an HTTP/2 client. `isUpgraded`: its CONNECT is accepted. */
export function responseList(head: MessageHead, edits: HeadEdits, isUpgraded = false): string[] {
  const status = isUpgraded ? 200 : head.status;
  const list = [":status", String(status)];
  // RFC 9110 §8.6: 1xx and 204 never say a length.
  const saysLength = status >= 200 && status !== 204 && !isUpgraded;
  if (head instanceof ListHead) {
    if (!saysLength) edits.remove(H.contentLength);
    keepFields(head, edits, list);
  } else {
    keptHeaders(head, edits, list);
    if (saysLength && head.has(H.contentLength)) {
      list.push("content-length", String(head.contentLength));
    }
  }
  return list;
}

/** Nothing in a list is for one hop only, besides what is refused (RFC 9113 §8.2.2). */
function keepFields(head: ListHead, edits: HeadEdits, out: string[]): void {
  const { list, start, ids } = head;
  for (let i = start, n = 0; i < list.length; i += 2, n++) {
    if (edits.dropsField(ids[n]!)) continue;
    out.push(list[i]!, list[i + 1]!);
  }
  edits.listAdded(out);
}

/** The fields as lines. Several cookies become one (RFC 9113 §8.2.3). */
function lines(head: ListHead, edits: HeadEdits): string {
  const { list, start, ids } = head;
  let text = "";
  for (let i = start, n = 0; i < list.length; i += 2, n++) {
    const id = ids[n]!;
    if (id === H.contentLength || id === H.cookie || id === H.trailer) continue;
    if (!edits.dropsField(id)) text += `${list[i]!}: ${list[i + 1]!}\r\n`;
  }
  const cookie = edits.dropsField(H.cookie) ? undefined : head.get(H.cookie);
  if (cookie !== undefined) text += `cookie: ${cookie}\r\n`;
  return text + edits.addedText();
}

function upgradeLines({ upgrade }: ListHead): string {
  return `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
}

function framing(head: ListHead): string {
  if (head.upgrade !== "") return "";
  if (head.framing === "chunked") return "transfer-encoding: chunked\r\n";
  return head.contentLength >= 0 ? `content-length: ${head.contentLength}\r\n` : "";
}

/** A request that came in HTTP/2, as it goes to an HTTP/1.1 server. */
export function requestText(head: ListHead, edits: HeadEdits): string {
  edits.remove(H.host);
  const host = `host: ${edits.authority ?? head.authority}\r\n`;
  const start = `${head.method} ${edits.target ?? head.target} HTTP/1.1\r\n`;
  const upgrade = head.upgrade === "" ? "" : upgradeLines(head);
  return `${start}${host}${lines(head, edits)}${upgrade}${framing(head)}\r\n`;
}

/** A response that came in HTTP/2, as it goes to an HTTP/1.1 client. */
export function responseText(
  head: ListHead,
  edits: HeadEdits,
  options: ResponseHeadOptions,
): string {
  const status = options.isUpgrade ? 101 : head.status;
  let own = "";
  if (options.isUpgrade) own = upgradeLines(head);
  else if (options.isClosing) own = "connection: close\r\n";
  else if (options.isKeptAlive) own = "connection: keep-alive\r\n";
  if (options.isChunked) own += "transfer-encoding: chunked\r\n";
  else if (status >= 200 && status !== 204 && head.contentLength >= 0) {
    own += `content-length: ${head.contentLength}\r\n`;
  }
  const start = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
  return `${start}${lines(head, edits)}${own}\r\n`;
}

/** Trailers as they are passed on; mostly the list itself. */
export function trailersOf(list: HeaderList): Trailers {
  for (let i = 0; i < list.length; i += 2) {
    if (FORBIDDEN_TRAILERS.has(list[i]!) || NO_TRAILER_VALUE.test(list[i + 1]!)) {
      return list.filter((_, at) => {
        const name = list[at - (at % 2)]!;
        const value = list[at - (at % 2) + 1]!;
        return !FORBIDDEN_TRAILERS.has(name) && !NO_TRAILER_VALUE.test(value);
      });
    }
  }
  return list;
}

/** What HTTP/1.1 does not allow in a value. */
const NO_TRAILER_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Whether a response's head is all there is of it. */
export function isWholeResponse(head: Http1Head | ListHead): boolean {
  return head.framing === "none" && head.status >= 200;
}
