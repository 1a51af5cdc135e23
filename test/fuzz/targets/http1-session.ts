/**
 * A waypoint's whole HTTP/1 session between a client's bytes and a backend. Oracle: nothing is
 * thrown; the backend sees well-formed requests only, and no more of them than the client can have
 * sent; the client sees whole responses only; bytes are credited as received; in the end nothing is
 * in flight and nothing of the session is left.
 */

import { Http1Session } from "../../../src/waypoint/http1-session.ts";
import { MemoryPeer, MemoryStream, settle } from "../../support/memory-stream.ts";
import { FakeWaypoint, REVIEWS_HOST } from "../../support/waypoint-session.ts";
import { piecesOf } from "../random.ts";
import { check, type Target } from "../target.ts";

const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const REQUEST_HEAD =
  /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP\/1\.1\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[ \t]?[\t\x20-\x7e\x80-\xff]*\r\n)+)\r\n/;
const CHUNK = /^([0-9a-f]+)\r\n/;

/** Requests as a strict backend reads them; those that are whole are counted. */
export function countRequests(text: string): number {
  let rest = text;
  for (let count = 0; ; count++) {
    if (rest === "") return count;
    const found = REQUEST_HEAD.exec(rest);
    check(found !== null, "the backend gets a malformed head");
    const lines = found[1]!.toLowerCase();
    rest = rest.slice(found[0].length);
    const lengths = [...lines.matchAll(/^content-length: ?(\d+)\r$/gm)];
    const isChunked = /^transfer-encoding: ?chunked\r$/m.test(lines);
    const others = lines.match(/^(?:content-length|transfer-encoding):/gm)?.length ?? 0;
    check(others === lengths.length + Number(isChunked) && others <= 1, "an unclear framing");
    const length = Number(lengths[0]?.[1] ?? 0);
    if (rest.length < length) return count;
    rest = isChunked ? behindChunks(rest) : rest.slice(length);
    if (isChunked && rest === INCOMPLETE) return count;
  }
}

const INCOMPLETE = "\0incomplete";

function behindChunks(text: string): string {
  let rest = text;
  for (;;) {
    if (rest === "" || /^[0-9a-f]+\r?$/.test(rest)) return INCOMPLETE;
    const found = CHUNK.exec(rest);
    check(found !== null, "the backend gets a malformed chunk");
    const size = Number.parseInt(found[1]!, 16);
    rest = rest.slice(found[0].length);
    if (size === 0) break;
    if (rest.length < size + 2) return INCOMPLETE;
    check(rest.slice(size, size + 2) === "\r\n", "the backend gets a chunk of another size");
    rest = rest.slice(size + 2);
  }
  const trailers = /^(?:[^\r\n:]+:[^\r\n]*\r\n)*\r\n/.exec(rest);
  return trailers === null ? INCOMPLETE : rest.slice(trailers[0].length);
}

/** The statuses of the responses; what is not one is a breach. */
function statusesOf(text: string): string[] {
  const statuses: string[] = [];
  for (let rest = text; rest !== ""; ) {
    const found = /^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n:]+:[^\r\n]*\r\n)*)\r\n/.exec(rest);
    check(found !== null, "the client gets what is no response");
    statuses.push(found[1]!);
    const length = /^content-length: ?(\d+)\r$/im.exec(found[2]!)?.[1] ?? "0";
    const body = rest.slice(found[0].length);
    // A response to HEAD has a length and no body.
    rest = body.startsWith("HTTP/1.1 ") ? body : body.slice(Number(length));
  }
  return statuses;
}

async function runSession(input: Buffer): Promise<string> {
  const waypoint = new FakeWaypoint();
  const { backends, context } = waypoint;
  const answered = new Map<MemoryPeer, number>();
  const [stream, remote] = MemoryStream.pair();
  new Http1Session(stream, waypoint.connection, context, waypoint.target());
  const client = new MemoryPeer(remote);
  for (const piece of piecesOf(input)) client.send(piece);
  for (let round = 0; round < 4; round++) {
    await settle(6);
    for (const backend of backends.connections) {
      const count = countRequests(backend.text);
      for (let i = answered.get(backend) ?? 0; i < count; i++) backend.send(ANSWER);
      answered.set(backend, count);
    }
  }
  stream.reset("cancel");
  for (const own of backends.streams) own.reset("cancel");
  await settle(6);
  let requests = 0;
  for (const backend of backends.connections) requests += countRequests(backend.text);
  const lineEnds = input.toString("latin1").split("HTTP/1.").length - 1;
  check(requests <= lineEnds, "the backend gets more requests than the client has sent");
  const statuses = statusesOf(client.text);
  check(statuses.length <= lineEnds + 1, "more responses than requests");
  check(stream.heldBytes >= 0, "more credit than bytes");
  check(waypoint.active === 0, "something is in flight when all is over");
  check(context.sessions.size === 0, "a session is left when all is over");
  return `${requests} ${statuses} ${backends.connections.length} ${client.isEnded}`;
}

const HOST = `Host: ${REVIEWS_HOST}\r\n`;

export const http1Session: Target = {
  name: "http1-session",
  dictionary: [
    ...[
      "GET / HTTP/1.1\r\n",
      HOST,
      "\r\n",
      "POST /a HTTP/1.1\r\n",
      "Content-Length: 5\r\n",
      "hello",
    ],
    ...["Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "Connection: close\r\n"],
    ...["Expect: 100-continue\r\n", "Connection: x-a\r\n", "HEAD", " ", ":", "+", "\n", "\0", ","],
  ],
  seeds: () => [
    `GET / HTTP/1.1\r\n${HOST}\r\n`,
    `GET /a HTTP/1.1\r\n${HOST}\r\nGET /b HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
    `POST /a HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n${HOST}\r\n`,
    `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX-T: 1\r\n\r\n`,
    `HEAD / HTTP/1.1\r\n${HOST}X-Forwarded-For: 1.2.3.4\r\nX-Envoy-A: b\r\n\r\n`,
    `POST / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc`,
    `GET / HTTP/1.0\r\n${HOST}\r\n`,
    `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  run: runSession,
};
