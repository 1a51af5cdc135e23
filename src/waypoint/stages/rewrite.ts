/**
 * The request head as the backend sees it, and what is changed in the head of the answer.
 *
 * The head is written once, into a buffer that stays with the exchange until an answer begins, so
 * that another attempt can send the same bytes.
 */

import { H, ownHeaderId } from "../../net/http1/header-names.ts";
import { HeadEdits, headBytesMax, writeRequestHead } from "../../net/http1/rewrite.ts";
import { newRequestId } from "../../telemetry/request-id.ts";
import type { Exchange } from "../exchange.ts";
import { applyChanges, applyToResponse } from "../external-auth/answer.ts";
import { changedPath } from "../filters/path-change.ts";
import type { RouteFilters } from "../filters/route-filters.ts";
import { grpcTimeout, grpcTimeoutMs } from "../grpc.ts";
import { requestList, requestText } from "../http2-heads.ts";
import { ListHead } from "../list-head.ts";
import type { MessageHead } from "../message-head.ts";
import { startMirrors } from "../mirrors.ts";
import { speaksHttp2 } from "../request-heads.ts";
import { continueSession } from "../session-persistence.ts";
import { keyOf } from "../web-socket.ts";
import { applyAuthentication } from "./authenticate.ts";

/** Istio's dashboards and users know a waypoint by this name. */
export const SERVER_NAME = "istio-envoy";

/** Most heads fit; the buffers are kept for the next request. */
const HEAD_BUFFER_BYTES = 4096;
const HEAD_BUFFERS_MAX = 1024;
const freeBuffers: Buffer[] = [];

const requestEdits = new HeadEdits();
const responseEditsKept = new HeadEdits();

export function rewrite(exchange: Exchange): boolean {
  const edits = requestEdits;
  const { head, ruleFilters, backendFilters } = exchange;
  startEdits(exchange, edits);
  if (ruleFilters !== null && ruleFilters.mirrors.length > 0) {
    // Copies are changed as the rule says; what is meant for the backend alone is not theirs.
    ruleFilters.request?.apply(edits);
    changeTarget(exchange, ruleFilters, edits);
    exchange.mirrors = startMirrors(exchange, ruleFilters.mirrors, edits);
    startEdits(exchange, edits);
  }
  // The rule's headers have the last word, as in Envoy.
  backendFilters?.request?.apply(edits);
  ruleFilters?.request?.apply(edits);
  if (ruleFilters !== null) changeTarget(exchange, ruleFilters, edits);
  if (backendFilters !== null) changeTarget(exchange, backendFilters, edits);
  const isHttp2 = isForHttp2(exchange);
  if (exchange.isUpgrade) exchange.webSocketKey = keyOf(head, isHttp2, edits);
  if (isHttp2) exchange.requestList = requestList(head, edits);
  else writeHead(exchange, head, edits);
  return true;
}

/** What is changed whatever the route says. */
function startEdits(exchange: Exchange, edits: HeadEdits): void {
  const { head } = exchange;
  edits.reset();
  const { path, query } = exchange;
  if (path !== head.path || query !== head.query || head.isAbsoluteTarget) {
    edits.replaceTarget(withQuery(exchange.path, exchange));
  }
  exchange.requestId ||= head.get(H.xRequestId) ?? "";
  if (exchange.requestId === "") exchange.requestId = newRequestId();
  if (!head.has(H.xRequestId)) edits.set(H.xRequestId, exchange.requestId);
  if (!head.has(H.xForwardedProto)) edits.set(H.xForwardedProto, "http");
  // Who the client is was proven by its certificate; a claim in a header is not to be passed on.
  edits.remove(H.xForwardedClientCert);
  edits.remove(H.xWaystoneDecision);
  if (exchange.isBodyAskedFor) edits.remove(H.expect);
  if (exchange.isGrpc) lowerGrpcTimeout(exchange, edits);
  for (const changes of exchange.authChanges) applyChanges(changes, edits);
  const { authentication } = exchange;
  if (authentication !== undefined) {
    applyAuthentication(authentication, head.get(H.cookie), edits);
  }
}

/** The backend is told when the route leaves a call less time than its client does, as by Envoy. */
function lowerGrpcTimeout({ choice, head }: Exchange, edits: HeadEdits): void {
  const { requestTimeoutMs = 0, backendRequestTimeoutMs = 0 } = choice?.rule ?? {};
  // That of an attempt is never the longer one of the two (translate/route-timing.ts).
  const routeMs = backendRequestTimeoutMs || requestTimeoutMs;
  if (routeMs === 0) return;
  const clientMs = grpcTimeoutMs(head.get(H.grpcTimeout));
  if (clientMs === 0 || routeMs < clientMs) edits.set(H.grpcTimeout, grpcTimeout(routeMs));
}

function changeTarget(exchange: Exchange, filters: RouteFilters, edits: HeadEdits): void {
  const { rewrite: change } = filters;
  if (change === undefined) return;
  if (change.hostname !== undefined) edits.replaceAuthority(change.hostname);
  if (change.path === undefined) return;
  // As Envoy tells the backend what the client has asked for.
  edits.set(H.xEnvoyOriginalPath, withQuery(exchange.path, exchange));
  const path = changedPath(exchange.path, change.path, exchange.choice!.rule!);
  edits.replaceTarget(withQuery(path, exchange));
}

function withQuery(path: string, { query }: Exchange): string {
  return query === "" ? path : `${path}?${query}`;
}

function isForHttp2({ cluster, target, session }: Exchange): boolean {
  const protocol = cluster === target.cluster ? target.protocol : cluster!.protocol;
  return speaksHttp2(protocol, session.isHttp2);
}

function writeHead(exchange: Exchange, head: MessageHead, edits: HeadEdits): void {
  if (head instanceof ListHead) {
    const text = requestText(head, edits);
    exchange.requestHead = takeBuffer(text.length);
    exchange.requestHeadBytes = exchange.requestHead.write(text, 0, "latin1");
    return;
  }
  const out = takeBuffer(headBytesMax(head, edits));
  exchange.requestHead = out;
  exchange.requestHeadBytes = writeRequestHead(head, edits, out, 0);
}

function takeBuffer(bytes: number): Buffer {
  if (bytes > HEAD_BUFFER_BYTES) return Buffer.allocUnsafe(bytes);
  return freeBuffers.pop() ?? Buffer.allocUnsafeSlow(HEAD_BUFFER_BYTES);
}

/** No further attempt will be made: the buffer goes back. */
export function releaseHead(exchange: Exchange): void {
  exchange.requestList = null;
  const buffer = exchange.requestHead;
  if (buffer === null) return;
  exchange.requestHead = null;
  if (buffer.length === HEAD_BUFFER_BYTES && freeBuffers.length < HEAD_BUFFERS_MAX) {
    freeBuffers.push(buffer);
  }
}

/** What is changed in the head of a 1xx: hardly anything, besides what is for this hop only. */
export function interimEdits(): HeadEdits {
  responseEditsKept.reset();
  // Which decision it was is ours to say, and is said in the answer proper.
  responseEditsKept.remove(H.xWaystoneDecision);
  return responseEditsKept;
}

/** What is changed in an answer's head. `upstreamServiceTimeMs` below 0 leaves that header out. */
export function responseEdits(exchange: Exchange, upstreamServiceTimeMs: number): HeadEdits {
  const edits = responseEditsKept;
  edits.reset();
  edits.set(H.server, SERVER_NAME);
  if (upstreamServiceTimeMs >= 0) {
    edits.set(H.xEnvoyUpstreamServiceTime, String(upstreamServiceTimeMs));
  }
  const { backendFilters, ruleFilters, corsHeaders, sticky } = exchange;
  backendFilters?.response?.apply(edits);
  ruleFilters?.response?.apply(edits);
  for (let i = 0; i < corsHeaders.length; i += 2) {
    edits.set(ownHeaderId(corsHeaders[i]!), corsHeaders[i + 1]!);
  }
  for (const changes of exchange.authChanges) applyToResponse(changes, edits);
  if (sticky !== undefined) continueSession(sticky, exchange.endpoint, edits);
  if (exchange.isDecisionTold) edits.set(H.xWaystoneDecision, exchange.decisionId);
  return edits;
}
