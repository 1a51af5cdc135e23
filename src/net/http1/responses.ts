/** Responses that the proxy makes itself. */
import { STATUS_CODES } from "node:http";
import { assert } from "../../kit/assert.ts";
import { isFieldValue } from "./rewrite.ts";

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
  // RFC 9110 §8.6, §15.4.5: these have no body, and 204 never says a length.
  const isBodiless = status < 200 || status === 204 || status === 304;
  if (!isBodiless) head += `content-length: ${Buffer.byteLength(body)}\r\n`;
  for (const [name, value] of headers) {
    assert(isFieldValue(value), "a line break in the value of a header");
    head += `${name}: ${value}\r\n`;
  }
  head += `date: ${httpDate()}\r\n`;
  if (isClosing) head += "connection: close\r\n";
  return Buffer.from(`${head}\r\n${isHead || isBodiless ? "" : body}`);
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
