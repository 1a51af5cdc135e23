/** One question to one authorizer, and what its answer comes to. */
import type { Snapshot } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import type { ByteStream } from "../../net/byte-stream.ts";
import { H } from "../../net/http1/header-names.ts";
import type { WaypointContext } from "../context.ts";
import { grpcStatusIn } from "../grpc.ts";
import type { MessageHead } from "../message-head.ts";
import { speaksHttp2 } from "../request-heads.ts";
import { SubRequest, type SubRequestListener } from "../sub-request.ts";
import type { Trailers } from "../upstream.ts";
import { ANSWER_BYTES_MAX, type AuthorizerAnswer, FAILED } from "./answer.ts";
import type { AskedConnection, AskedRequest } from "./asked-request.ts";
import type { Authorizer } from "./authorizer.ts";
import { grpcAnswer, grpcHead, grpcQuestion } from "./grpc-authorizer.ts";
import { type HttpAnswerHead, httpAnswer, httpQuestion, readHead } from "./http-authorizer.ts";
import type { ShownBody } from "./shown-body.ts";

export interface AuthorizerListener {
  /** Once; `FAILED` when it could not be asked or has not answered. */
  onAuthorizerAnswer(answer: AuthorizerAnswer): void;
}

export class AuthorizerCall implements SubRequestListener {
  readonly #authorizer: Authorizer;
  readonly #listener: AuthorizerListener;
  #request: SubRequest | undefined;
  #head: HttpAnswerHead = { status: 0, fields: [] };
  #grpcStatus = "";
  #body: Buffer[] = [];
  #bodyBytes = 0;
  #isOver = false;

  constructor(authorizer: Authorizer, listener: AuthorizerListener) {
    this.#authorizer = authorizer;
    this.#listener = listener;
  }

  /** `asked.method` is undefined for a connection, which only gRPC can say. */
  start(
    context: WaypointContext,
    snapshot: Snapshot,
    source: Workload | undefined,
    asked: AskedConnection | AskedRequest,
    body: ShownBody,
  ): void {
    const authorizer = this.#authorizer;
    const { service, port, protocol } = authorizer;
    if (service === undefined) {
      this.#settle(FAILED);
      return;
    }
    const cluster = context.clusters.ofService(service, port, snapshot);
    const timeoutMs = authorizer.timeoutMs ?? context.limits.externalAuthTimeoutMs;
    const isGrpc = protocol === "GRPC";
    const question = isGrpc ? grpcQuestion(authorizer, asked, body) : body.bytes;
    const host = cluster.service?.hostname ?? "";
    const head = isGrpc
      ? grpcHead(`${host}:${port}`, timeoutMs)
      : httpQuestion(authorizer, asked as AskedRequest, body, speaksHttp2(cluster.protocol, false));
    const request = new SubRequest(context, head, this, ANSWER_BYTES_MAX + question.length);
    this.#request = request;
    request.start(cluster, source, timeoutMs);
    if (question.length > 0) request.body(question, 0, question.length);
    request.bodyEnd();
  }

  onAnswer(head: MessageHead): void {
    this.#head = readHead(head);
    this.#grpcStatus = head.get(H.grpcStatus) ?? "";
  }

  onAnswerBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    source.credit(end - start);
    this.#bodyBytes += end - start;
    if (this.#bodyBytes <= ANSWER_BYTES_MAX) {
      this.#body.push(Buffer.from(bytes.subarray(start, end)));
      return;
    }
    this.#request!.cancel();
    this.#settle(FAILED);
  }

  onAnswerEnd(trailers: Trailers): void {
    const body = Buffer.concat(this.#body);
    if (this.#authorizer.protocol === "GRPC") {
      const grpcStatus = grpcStatusIn(trailers) ?? this.#grpcStatus;
      this.#settle(grpcAnswer(this.#head.status, grpcStatus, body));
    } else this.#settle(httpAnswer(this.#authorizer, this.#head, body));
  }

  onFailed(): void {
    this.#settle(FAILED);
  }

  #settle(answer: AuthorizerAnswer): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#body = [];
    this.#listener.onAuthorizerAnswer(answer);
  }

  /** Nobody wants to hear of it any more. */
  cancel(): void {
    this.#isOver = true;
    this.#request?.cancel();
  }
}
