/**
 * Asks the authorizers of a rule or backend, one after the other, while the request waits: its head
 * as a copy, its body uncredited in the stream's window. The first that refuses has the last word;
 * one that cannot be asked refuses as well.
 */
import type { ExternalAuthFilter } from "../../model/route.ts";
import type { ByteStream } from "../../net/byte-stream.ts";
import { H } from "../../net/http1/header-names.ts";
import type { Exchange } from "../exchange.ts";
import { grpcStatusIn } from "../grpc.ts";
import type { MessageHead } from "../message-head.ts";
import { copyHead, speaksHttp2 } from "../request-heads.ts";
import { SubRequest, type SubRequestListener } from "../sub-request.ts";
import type { Trailers } from "../upstream.ts";
import { ANSWER_BYTES_MAX, type AuthorizerAnswer, FAILED, UNAUTHORIZED } from "./answer.ts";
import { type AskedRequest, askedRequest } from "./asked-request.ts";
import { grpcAnswer, grpcHead, grpcQuestion } from "./grpc-authorizer.ts";
import { type HttpAnswerHead, httpAnswer, httpQuestion, readHead } from "./http-authorizer.ts";

/** Of a request's body that is shown; what waits must fit into the client's window. */
const SHOWN_BODY_BYTES_MAX = 32 * 1024;
const NO_BODY = Buffer.alloc(0);

export class ExternalAuthCheck implements SubRequestListener {
  readonly #exchange: Exchange;
  readonly #filters: readonly ExternalAuthFilter[];
  readonly #head: MessageHead;
  readonly #asked: AskedRequest;
  /** The client sends its body only when it is told to go on. */
  readonly #isBodyHeldBack: boolean;
  #index = 0;
  #request: SubRequest | undefined;
  #answerHead: HttpAnswerHead = { status: 0, fields: [] };
  #grpcStatus = "";
  #answer: Buffer[] = [];
  #answerBytes = 0;

  constructor(exchange: Exchange, filters: readonly ExternalAuthFilter[]) {
    this.#exchange = exchange;
    this.#filters = filters;
    this.#head = copyHead(exchange.head);
    this.#asked = askedRequest(exchange);
    this.#isBodyHeldBack = exchange.head.has(H.expect);
  }

  /** Asks the next authorizer, once there is enough of the body to show. */
  proceed(): void {
    if (this.#request !== undefined) return;
    const filter = this.#filters[this.#index];
    if (filter === undefined) {
      this.#exchange.resume(this.#head);
      return;
    }
    const shownBytes = Math.min(filter.bodyBytesMax, SHOWN_BODY_BYTES_MAX);
    const { requestBody, hasRequestBody } = this.#exchange;
    const isWaiting = hasRequestBody && !requestBody.isDone && !this.#isBodyHeldBack;
    if (shownBytes > 0 && isWaiting && requestBody.waitingBytes < shownBytes) return;
    this.#ask(filter, shownBytes > 0 ? requestBody.waitingStart(shownBytes) : NO_BODY);
  }

  #ask(filter: ExternalAuthFilter, body: Buffer): void {
    const { context, snapshot, source } = this.#exchange;
    const { service, port } = filter.backend;
    if (service === undefined) {
      this.#settle(FAILED);
      return;
    }
    const cluster = context.clusters.ofService(service, port, snapshot);
    const { externalAuthTimeoutMs: timeoutMs } = context.limits;
    const isGrpc = filter.protocol === "GRPC";
    const question = isGrpc ? grpcQuestion(filter, this.#asked, body) : body;
    const host = cluster.service?.hostname ?? "";
    const head = isGrpc
      ? grpcHead(`${host}:${port}`, timeoutMs)
      : httpQuestion(filter, this.#asked, body, speaksHttp2(cluster.protocol, false));
    const request = new SubRequest(context, head, this, ANSWER_BYTES_MAX + question.length);
    this.#request = request;
    request.start(cluster, source, timeoutMs);
    if (question.length > 0) request.body(question, 0, question.length);
    request.bodyEnd();
  }

  onAnswer(head: MessageHead): void {
    this.#answerHead = readHead(head);
    this.#grpcStatus = head.get(H.grpcStatus) ?? "";
  }

  onAnswerBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    source.credit(end - start);
    this.#answerBytes += end - start;
    if (this.#answerBytes <= ANSWER_BYTES_MAX) {
      this.#answer.push(Buffer.from(bytes.subarray(start, end)));
      return;
    }
    this.#request!.cancel();
    this.#settle(FAILED);
  }

  onAnswerEnd(trailers: Trailers): void {
    const filter = this.#filters[this.#index]!;
    const body = Buffer.concat(this.#answer);
    if (filter.protocol === "GRPC") {
      const grpcStatus = grpcStatusIn(trailers) ?? this.#grpcStatus;
      this.#settle(grpcAnswer(this.#answerHead.status, grpcStatus, body));
    } else this.#settle(httpAnswer(filter, this.#answerHead, body));
  }

  onFailed(): void {
    this.#settle(FAILED);
  }

  #settle(answer: AuthorizerAnswer): void {
    const exchange = this.#exchange;
    // It may have been given up while the question was on its way.
    if (!exchange.isActive || exchange.check !== this) return;
    this.#request = undefined;
    this.#answer = [];
    this.#answerBytes = 0;
    if (answer.kind === "failed") exchange.answer(UNAUTHORIZED);
    else if (answer.kind === "denied") exchange.answer(answer.reply);
    else {
      exchange.authChanges = [...exchange.authChanges, answer.changes];
      this.#index++;
      this.proceed();
    }
  }

  /** The request is over. */
  cancel(): void {
    this.#request?.cancel();
    this.#request = undefined;
  }
}
