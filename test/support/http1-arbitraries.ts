/** HTTP/1.1 messages for property tests: well-formed ones, as text, and what they say. */
import fc from "fast-check";

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/;

/** A name in some case, and which header it is. */
const names = fc.oneof(
  fc.stringMatching(TOKEN).map((name) => `x-${name}`),
  fc.constantFrom(
    ..."Accept authorization COOKIE Content-Type date Server traceparent X-Forwarded-For".split(
      " ",
    ),
    ..."x-forwarded-client-cert x-request-id Forwarded user-agent x-a x-b".split(" "),
  ),
);

const values = fc
  .stringMatching(/^[!-~ \t\x80-\xff]{0,20}$/)
  .map((value) => value.replace(/^[ \t]+|[ \t]+$/g, ""));

const blanks = fc.constantFrom("", " ", "\t", "  ");

export interface Line {
  readonly name: string;
  readonly value: string;
  readonly text: string;
}

/** A header line that is neither framing nor for one hop. */
export const endToEndLine: fc.Arbitrary<Line> = fc
  .tuple(names, blanks, values, blanks)
  .map(([name, before, value, after]) => ({
    name: name.toLowerCase(),
    value,
    text: `${name}:${before}${value}${after}\r\n`,
  }));

export const method = fc.oneof(
  fc.constantFrom("GET", "PUT", "POST", "HEAD", "DELETE", "PATCH", "PURGE", "M-SEARCH"),
  fc.stringMatching(/^[A-Z]{1,9}$/).filter((name) => name !== "CONNECT"),
);

export const target = fc.stringMatching(/^\/[!$-~]{0,30}$/);

/** Lines for one hop, to be mixed in: whatever is nominated, TE, Keep-Alive. */
export const hopLines = fc.subarray([
  "Keep-Alive: timeout=5\r\n",
  "Proxy-Connection: keep-alive\r\n",
  "TE: trailers, deflate\r\n",
  "Trailer: x-sum\r\n",
  "Connection: keep-alive\r\n",
]);

export const framingLine = fc.constantFrom(
  "",
  "Content-Length: 0\r\n",
  "content-length: 12\r\n",
  "Transfer-Encoding: chunked\r\n",
);
