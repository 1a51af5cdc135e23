/**
 * An authorizer that is asked by HTTP: the request's own method, path and host, few of its headers,
 * and of its body what was asked for. 200 lets it pass; any other answer is the client's; a 5xx is
 * none (Gateway API, HTTPExternalAuthFilter; Envoy, ext_authz HTTP service).
 */
import type { MessageHead } from "../message-head.ts";
import { fieldsOf } from "../request-heads.ts";
import type { SubRequestHead } from "../sub-request.ts";
import { type AuthorizerAnswer, denial, FAILED, isPassedValue, passedName } from "./answer.ts";
import { type AskedRequest, PARTIAL_BODY } from "./asked-request.ts";
import type { Authorizer } from "./authorizer.ts";
import type { ShownBody } from "./shown-body.ts";

/** Sent whatever is allowed; Host, method, path and length are part of the request itself. */
const ALWAYS_SENT = new Set(["authorization"]);

export function httpQuestion(
  authorizer: Authorizer,
  asked: AskedRequest,
  { bytes: body, isPartial }: ShownBody,
  isHttp2: boolean,
): SubRequestHead {
  const { method, authority } = asked;
  const path = authorizer.pathPrefix.replace(/\/$/, "") + asked.target;
  const headers: string[] = [];
  for (let i = 0; i < asked.fields.length; i += 2) {
    const [name, value] = [asked.fields[i]!, asked.fields[i + 1]!];
    const isShown = ALWAYS_SENT.has(name) || authorizer.shown.has(name);
    if (isShown && passedName(name) !== undefined) headers.push(name, value);
  }
  for (const [name, value] of authorizer.added) {
    if (passedName(name!) !== undefined && isPassedValue(value!)) headers.push(name!, value!);
  }
  if (body.length > 0) headers.push(PARTIAL_BODY, String(isPartial));
  headers.push("content-length", String(body.length));
  const shape = { method, isChunked: false, hasBody: body.length > 0 };
  if (isHttp2) {
    const pseudo = [":method", method, ":scheme", "http", ":path", path, ":authority", authority];
    return { ...shape, bytes: null, list: [...pseudo, ...headers] };
  }
  let text = `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n`;
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return { ...shape, bytes: Buffer.from(`${text}\r\n`, "latin1"), list: null };
}

/** What is kept of the answer's head; its body may still come. */
export interface HttpAnswerHead {
  readonly status: number;
  readonly fields: readonly string[];
}

export function readHead(head: MessageHead): HttpAnswerHead {
  return { status: head.status, fields: fieldsOf(head) };
}

export function httpAnswer(
  { toUpstream, toClient, toDeniedClient }: Authorizer,
  { status, fields }: HttpAnswerHead,
  body: Buffer,
): AuthorizerAnswer {
  if (status >= 500) return FAILED;
  if (status !== 200) {
    const headers: string[] = [];
    for (const [name, value] of passed(fields)) {
      if (toDeniedClient.has(name)) headers.push(name, value);
    }
    return { kind: "denied", reply: denial(status, body.toString("utf8"), headers) };
  }
  const all = [...passed(fields)];
  const set = all.filter(([name]) => toUpstream.has(name));
  const response = all.filter(([name]) => toClient.has(name));
  return { kind: "allowed", changes: { set, append: [], remove: [], response } };
}

function* passed(fields: readonly string[]): Generator<readonly [string, string]> {
  for (let i = 0; i < fields.length; i += 2) {
    const name = passedName(fields[i]!);
    if (name !== undefined && isPassedValue(fields[i + 1]!)) yield [name, fields[i + 1]!];
  }
}
