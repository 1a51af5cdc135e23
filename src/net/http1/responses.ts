/** Responses that the proxy makes itself. */
import { STATUS_CODES } from "node:http";

export type HeaderPairs = readonly (readonly [string, string])[];

/** The bytes of a whole response. For HEAD its length is said, and the body left out. */
export function localResponse(
  status: number,
  headers: HeaderPairs,
  body: string,
  isHead: boolean,
  isClosing: boolean,
): Buffer {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
  head += `content-length: ${Buffer.byteLength(body)}\r\n`;
  for (const [name, value] of headers) head += `${name}: ${value}\r\n`;
  head += `date: ${httpDate()}\r\n`;
  if (isClosing) head += "connection: close\r\n";
  return Buffer.from(`${head}\r\n${isHead ? "" : body}`);
}

let dateText = "";
let dateSecond = 0;

/** RFC 9110 §5.6.7; made once a second. */
function httpDate(): string {
  const nowMs = Date.now();
  const second = Math.floor(nowMs / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(nowMs).toUTCString();
  }
  return dateText;
}
