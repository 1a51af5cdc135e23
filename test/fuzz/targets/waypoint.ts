/**
 * A waypoint between two who lie: a backend that answers an HTTP/1.1 client with anything, and a
 * client whose HTTP/2 lists hold anything, before an HTTP/1.1 backend.
 *
 * Oracle: nothing is thrown; nobody is sent what is no message of their protocol; what stands
 * behind an answer is never the answer to another request; however the bytes are cut, the same
 * comes out; in the end nothing is in flight.
 */
import { encodeStatelessBlock } from "../../../src/net/http2/headers.ts";
import { Http1Session } from "../../../src/waypoint/http1-session.ts";
import { Http2Session } from "../../../src/waypoint/http2-session.ts";
import { MemoryPeer, MemoryStream, settle } from "../../support/memory-stream.ts";
import { CLIENT_PREFACE, frame, settings, T } from "../../support/peer.ts";
import { FakeWaypoint, REVIEWS_HOST } from "../../support/waypoint-session.ts";
import { piecesOf } from "../random.ts";
import { check, checkSame, type Target } from "../target.ts";
import { countRequests } from "./http1-session.ts";

const GET = `GET /first HTTP/1.1\r\nhost: ${REVIEWS_HOST}\r\n\r\n`;
const SECOND = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";

interface Answered {
  readonly statuses: string[];
  readonly body: string;
  readonly isCut: boolean;
}

/** Answers as a strict client reads them; of the last one the body may be cut. */
function readAnswers(text: string, isCut: boolean): Answered {
  const statuses: string[] = [];
  let body = "";
  for (let rest = text; rest !== ""; ) {
    const found = /^HTTP\/1\.1 (\d{3})[^\r\n\0]*\r\n((?:[^\r\n:\0]+:[^\r\n\0]*\r\n)*)\r\n/.exec(
      rest,
    );
    check(found !== null, "the client gets what is no response");
    statuses.push(found[1]!);
    rest = rest.slice(found[0].length);
    if (found[1]!.startsWith("1")) continue;
    if (/^transfer-encoding: chunked\r$/im.test(found[2]!)) {
      for (let chunk = nextChunk(rest); chunk !== undefined; chunk = nextChunk(rest)) {
        rest = rest.slice(chunk.bytes);
        body += chunk.payload;
        if (chunk.isLast) break;
      }
      if (isCut) rest = "";
      continue;
    }
    const length = Number(/^content-length: ?(\d+)\r$/im.exec(found[2]!)?.[1] ?? 0);
    check(isCut || rest.length >= length || isBodiless(found[1]!), "an answer cut without a cut");
    body += rest.slice(0, length);
    rest = isBodiless(found[1]!) ? rest : rest.slice(length);
  }
  return { statuses, body, isCut };
}

const isBodiless = (status: string) => status === "204" || status === "304";

function nextChunk(text: string): { payload: string; bytes: number; isLast: boolean } | undefined {
  const size = /^([0-9a-f]+)\r\n/.exec(text);
  if (size === null) return undefined;
  const length = Number.parseInt(size[1]!, 16);
  if (length === 0) {
    const end = /^0\r\n(?:[^\r\n:\0]+:[^\r\n\0]*\r\n)*\r\n/.exec(text);
    check(end !== null, "the client gets a malformed last chunk");
    return { payload: "", bytes: end[0].length, isLast: true };
  }
  const start = size[0].length;
  if (text.length < start + length + 2) return undefined;
  const bytes = start + length + 2;
  check(text.slice(bytes - 2, bytes) === "\r\n", "the client gets a malformed chunk");
  return { payload: text.slice(start, start + length), bytes, isLast: false };
}

/** Two requests, one behind the other; the first connection to the backend answers the input. */
async function answerWith(pieces: readonly Buffer[], endsFirst: boolean): Promise<Answered> {
  const waypoint = new FakeWaypoint();
  const [stream, remote] = MemoryStream.pair();
  new Http1Session(stream, waypoint.connection, waypoint.context, waypoint.target());
  const client = new MemoryPeer(remote);
  client.send(GET);
  await settle(8);
  const [first] = waypoint.backends.connections;
  for (const piece of pieces) first!.send(piece);
  await settle(8);
  // What stays open may be asked again, unless something is wrong with it.
  if (endsFirst) first!.stream.end();
  await settle(8);
  client.send(GET.replace("first", "second"));
  await settle(8);
  for (const backend of waypoint.backends.connections) {
    if (backend !== first) backend.send(SECOND);
  }
  await settle(8);
  const isReset = client.isClosed;
  stream.reset("cancel");
  for (const own of waypoint.backends.streams) own.reset("cancel");
  await settle(4);
  check(waypoint.active === 0, "something is in flight when all is over");
  check(first!.text.match(/\/second /) === null || !first!.isEnded, "asked behind the end");
  // A backend that stays silent in mid-answer is waited for.
  return readAnswers(client.text, isReset || !endsFirst);
}

async function runBackend(input: Buffer): Promise<string> {
  const endsFirst = input.length % 2 === 0;
  const whole = await answerWith([input], endsFirst);
  const cut = await answerWith(piecesOf(input), endsFirst);
  checkSame(cut.statuses, whole.statuses, "in pieces, other statuses");
  checkSame(cut.body, whole.body, "in pieces, another body");
  const finals = whole.statuses.filter((status) => !status.startsWith("1"));
  check(finals.length <= 2, "more answers than requests");
  check(finals.length < 2 || whole.body.endsWith("second"), "an answer to another request");
  return `${whole.statuses.slice(0, 4)} ${whole.isCut} ${Math.min(9, whole.body.length)}`;
}

/** A literal of HPACK that nobody has tidied: bytes as they are. */
function literal(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1").subarray(0, 126);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

/**
 * A message a paragraph: `name=value` a line, `>` before payload. (U+0002 stands for a line feed,
 * U+0003 for a carriage return.)
 */
function framesOf(message: string, id: number): Buffer[] {
  const rows = message.split("\n");
  const fields = rows.filter((row) => row.includes("=") && !row.startsWith(">"));
  const block = fields.map((row) => {
    const at = row.indexOf("=", row.startsWith("=") ? 1 : 0);
    const clear = (text: string) => text.replaceAll("\x02", "\n").replaceAll("\x03", "\r");
    const [name, value] = [clear(row.slice(0, at)), clear(row.slice(at + 1))];
    return Buffer.concat([Buffer.from([0]), literal(name), literal(value)]);
  });
  const payload = rows.filter((row) => row.startsWith(">")).map((row) => row.slice(1));
  const headers = frame(T.headers, payload.length === 0 ? 5 : 4, id, Buffer.concat(block));
  const data = payload.map((text, i) =>
    frame(T.data, i === payload.length - 1 ? 1 : 0, id, Buffer.from(text, "latin1")),
  );
  return [headers, ...data];
}

async function runLists(input: Buffer): Promise<string> {
  const messages = input.toString("latin1").split("\n\n").slice(0, 6);
  const waypoint = new FakeWaypoint();
  const [stream, remote] = MemoryStream.pair();
  new Http2Session(stream, waypoint.connection, waypoint.context, waypoint.target());
  const client = new MemoryPeer(remote);
  const frames = messages.flatMap((message, i) => framesOf(message, 2 * i + 1));
  const bytes = Buffer.concat([CLIENT_PREFACE, settings(), ...frames]);
  for (const piece of piecesOf(bytes)) client.send(piece);
  await settle(10);
  let requests = 0;
  const methods = messages.map((message) => /^:method=(.*)$/m.exec(message)?.[1]);
  for (const backend of waypoint.backends.connections) {
    requests += countRequests(backend.text);
    const method = /^[^ ]*/.exec(backend.text)![0];
    const isUpgrade = /^upgrade: websocket\r$/im.test(backend.text);
    const sent = isUpgrade ? "CONNECT" : method;
    check(backend.text === "" || methods.includes(sent), "another method than was sent");
    check(!isUpgrade || backend.text.endsWith("\r\n\r\n"), "bytes before the upgrade");
    const hosts = backend.text.split("\r\n\r\n")[0]!.match(/^host:/gim)?.length ?? 0;
    check(backend.text === "" || hosts === 1, "not one host");
    backend.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
  }
  check(waypoint.backends.connections.length <= messages.length, "more requests than messages");
  await settle(10);
  const refused = waypoint.refused.map((reply) => reply.status);
  stream.reset("cancel");
  for (const own of waypoint.backends.streams) own.reset("cancel");
  await settle(4);
  check(waypoint.active === 0, "something is in flight when all is over");
  check(waypoint.context.sessions.size === 0, "a session is left when all is over");
  return `${requests} ${refused} ${waypoint.backends.connections.length}`;
}

const HEAD = ":method=GET\n:scheme=http\n:path=/a\n:authority=reviews";

export const http1Backend: Target = {
  name: "http1-backend",
  dictionary: [
    ...["HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "\r\n", "204", "304", "101"],
    ...["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "5\r\nhello\r\n"],
    ...["Connection: close\r\n", "hello", "\n", "\0", ";a", "X-T: 1\r\n", "HTTP/1.0 200\r\n"],
  ],
  seeds: () => [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    "HTTP/1.0 200 OK\r\n\r\nold",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
  ],
  run: runBackend,
};

export const http2Lists: Target = {
  name: "http2-lists",
  dictionary: [
    ...[`${HEAD}\n\n`, ":method=POST\n", "\n>hello", "\n\n", "content-length=5\n", "cookie=a\n"],
    ...[
      "transfer-encoding=chunked\n",
      "host=b\n",
      "\x03\x02",
      "\x03",
      "\x02",
      "\0",
      " ",
      ":",
      "\t",
    ],
    ...[":method=CONNECT\n:protocol=websocket\n", ":protocol=websocket\n"],
    ...["te=trailers\n", "connection=close\n", ":path=*\n", ":authority=\n", "%", "#", "@", ","],
    ...["\x01", "\x1f", "\x7f", "\x80", "\xe9"],
    encodeStatelessBlock([":status", "200"]),
  ],
  seeds: () => [
    HEAD,
    `${HEAD.replace("GET", "POST")}\ncontent-length=5\n>hel\n>lo\n\n${HEAD}`,
    `${HEAD.replace("GET", "POST")}\ncookie=a=1\ncookie=b=2\nx-a=b\n>hello`,
    `${HEAD}\nx-a=b\x03\x02x-b: c`,
    `${HEAD}\nx-a=b\x01c`,
    HEAD.replace("/a", "/\xe9"),
    HEAD.replace("/a", "/a HTTP/1.1\x03\x02host: b\x03\x02"),
    `${HEAD}\nhost=reviews\nx-forwarded-for=1.2.3.4`,
    `${HEAD.replace("GET", "OPTIONS").replace("/a", "*")}`,
    `${HEAD.replace("GET", "POST")}\ntransfer-encoding=chunked\n>0\n\n${HEAD}`,
    `${HEAD.replace("GET", "CONNECT\n:protocol=websocket")}\nsec-websocket-version=13\n>early`,
  ],
  run: runLists,
};
