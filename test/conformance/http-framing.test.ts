import { expect, test } from "vitest";
import { BodyReader } from "../../src/net/http1/body.ts";
import { findHeadEnd, Http1Head, parseRequestHead } from "../../src/net/http1/head.ts";
import { HeadEdits, headBytesMax, writeRequestHead } from "../../src/net/http1/rewrite.ts";
import { conformanceJson } from "../support/conformance.ts";

interface FramingCase {
  id: string;
  version: string;
  rawBase64: string;
  acceptable: string[];
  mustNotReachBackendAs?: string;
}

const set = conformanceJson<{ cases: FramingCase[] }>("http", "framing.json");

interface Outcome {
  /** Every word of the set's vocabulary that is true of the message. */
  words: string[];
  path: string;
}

const refused = (status: number): Outcome => ({
  words: [String(status), `${status}-close`],
  path: "",
});

/** What the next hop would be sent, as text. */
function rewritten(head: Http1Head): string {
  const edits = new HeadEdits();
  const out = Buffer.alloc(headBytesMax(head, edits));
  return out.toString("latin1", 0, writeRequestHead(head, edits, out, 0)).toLowerCase();
}

function accepted(head: Http1Head, body: BodyReader): Outcome {
  const sent = rewritten(head);
  const words = [body.isDone ? "200" : "incomplete", `authority=${head.authority}`];
  if (!head.isPersistent) words.push("processed-then-close");
  if (body.trailers.length === 0) words.push("trailer-dropped");
  if (!/^(connection|upgrade):/m.test(sent)) words.push("upgrade-not-forwarded");
  for (const name of ["X-Secret"]) {
    if (!sent.includes(`${name.toLowerCase()}:`)) words.push(`header-removed:${name}`);
  }
  return { words, path: head.path };
}

/** What the codec makes of a connection's bytes: the outcome of each message, in order. */
function outcomes(bytes: Buffer): Outcome[] {
  const found: Outcome[] = [];
  const head = new Http1Head();
  const body = new BodyReader();
  let position = 0;
  while (position < bytes.length) {
    const end = findHeadEnd(bytes, position, bytes.length, 0);
    if (end < 0) return [...found, { words: ["incomplete"], path: "" }];
    const problem = parseRequestHead(head, bytes, position, end);
    if (problem) return [...found, refused(problem.status)];
    position = end;
    body.reset(head.framing, head.contentLength);
    while (!body.isDone && body.problem === undefined && position < bytes.length) {
      position = body.read(bytes, position, bytes.length);
    }
    if (body.problem !== undefined) return [...found, refused(400)];
    found.push(accepted(head, body));
    if (!head.isPersistent) return found;
  }
  return found;
}

const cases = set?.cases.filter((c) => c.version.startsWith("1")) ?? [];

test.skipIf(set === undefined)("HTTP/1.1 framing meets the normative set", () => {
  const failed: unknown[] = [];
  for (const { id, rawBase64, acceptable, mustNotReachBackendAs } of cases) {
    const seen = outcomes(Buffer.from(rawBase64, "base64"));
    const isSmuggled = seen.some((s) => s.path !== "" && s.path === mustNotReachBackendAs);
    const isMet = acceptable.some((word) => seen[0]?.words.includes(word));
    if (isSmuggled || !isMet) failed.push({ id, seen, acceptable });
  }
  expect(failed).toEqual([]);
});
