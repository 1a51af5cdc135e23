import { expect, test } from "vitest";
import { Http1Head, parseResponseHead } from "./head.ts";
import { localResponse } from "./responses.ts";

test("a local response is one that our own parser reads", () => {
  const bytes = localResponse(403, [["server", "s"]], "dénied", false, true);
  const head = new Http1Head();
  const end = bytes.indexOf("\r\n\r\n") + 4;
  expect(parseResponseHead(head, bytes, 0, end, "GET")).toBeUndefined();
  expect(head).toMatchObject({ status: 403, framing: "length", isPersistent: false });
  expect(head.contentLength).toBe(Buffer.byteLength("dénied"));
  expect(bytes.toString("utf8", end)).toBe("dénied");
  const date = Date.parse(head.getByName("date")!);
  expect(Math.abs(date - Date.now())).toBeLessThan(2000);
});

test("for HEAD the length is said and the body left out; without closing it stays open", () => {
  const text = localResponse(404, [], "not here", true, false).toString();
  expect(text).toContain("content-length: 8\r\n");
  expect(text.endsWith("\r\n\r\n")).toBe(true);
  expect(text).not.toContain("connection");
});
