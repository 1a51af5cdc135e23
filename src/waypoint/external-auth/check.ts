/**
 * Asks authorizers, one after the other, while the request waits: its head as a copy, its body
 * uncredited in the stream's window. The first that refuses has the last word, and one that cannot
 * be asked refuses as well, unless it is said to fail open.
 */
import type { MeshSettings } from "../../model/settings.ts";
import { H } from "../../net/http1/header-names.ts";
import type { ProviderQuestion } from "../../policy/custom-policies.ts";
import type { Verdict } from "../../policy/verdict.ts";
import type { Exchange } from "../exchange.ts";
import { ListHead } from "../list-head.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";
import type { MessageHead } from "../message-head.ts";
import { copyHead } from "../request-heads.ts";
import { type AuthorizerAnswer, cannotAsk } from "./answer.ts";
import { type AskedRequest, askedRequest } from "./asked-request.ts";
import { type Authorizer, providerAuthorizer } from "./authorizer.ts";
import { AuthorizerCall, type AuthorizerListener } from "./authorizer-call.ts";
import { NO_BODY, type ShownBody } from "./shown-body.ts";

export interface Question {
  readonly authorizer: Authorizer;
  /** Of a CUSTOM policy: the provider's name, and the verdict when it says no. */
  readonly provider?: string;
  readonly verdict?: Verdict;
}

interface Questions {
  readonly questions: readonly Question[];
  /** There is nobody who could be asked one of them. */
  readonly refused: Verdict | undefined;
}

/** Of what CUSTOM policies want to be asked, to the providers of the settings. */
export function questionsOf(
  asked: readonly ProviderQuestion[],
  { authorizationProviders }: MeshSettings,
): Questions {
  const questions: Question[] = [];
  for (const { provider, verdict } of asked) {
    const { name, service } = provider;
    const known = authorizationProviders.find((candidate) => candidate.name === name);
    if (service === undefined || known === undefined) return { questions: [], refused: verdict };
    questions.push({ authorizer: providerAuthorizer(known, service), provider: name, verdict });
  }
  return { questions, refused: undefined };
}

const CONTINUE = new ListHead();
CONTINUE.readResponse([":status", "100"], false, "GET", false);

export class ExternalAuthCheck implements AuthorizerListener {
  readonly #exchange: Exchange;
  readonly #questions: readonly Question[];
  readonly #head: MessageHead;
  readonly #asked: AskedRequest;
  /** The client sends its body only when it is told to go on. */
  readonly #isBodyHeldBack: boolean;
  #index = 0;
  #call: AuthorizerCall | undefined;

  constructor(exchange: Exchange, questions: readonly Question[]) {
    this.#isBodyHeldBack = exchange.head.has(H.expect);
    this.#exchange = exchange;
    this.#questions = questions;
    this.#head = copyHead(exchange.head);
    this.#asked = askedRequest(exchange);
  }

  /** Asks the next authorizer, once there is enough of the body to show. */
  proceed(): void {
    if (this.#call !== undefined) return;
    const question = this.#questions[this.#index];
    if (question === undefined) {
      this.#exchange.resume(this.#head);
      return;
    }
    const { authorizer } = question;
    const body = this.#shownBody(authorizer);
    if (body === undefined) return;
    const { context, snapshot, source } = this.#exchange;
    this.#call = new AuthorizerCall(authorizer, this);
    this.#call.start(context, snapshot, source, this.#asked, body);
  }

  /** `undefined`: it has to be waited for, or the request was refused for it. */
  #shownBody({ bodyBytesMax, isPartialBodyShown }: Authorizer): ShownBody | undefined {
    const { requestBody, hasRequestBody, context } = this.#exchange;
    if (bodyBytesMax === 0 || !hasRequestBody) return NO_BODY;
    this.#askForBody();
    const bytesMax = Math.min(bodyBytesMax, context.limits.externalAuthBodyBytesMax);
    const { waitingBytes, isDone } = requestBody;
    const isPartial = waitingBytes > bytesMax;
    if (!isDone && !isPartial && !(isPartialBodyShown && waitingBytes === bytesMax)) {
      if (!requestBody.askForMore()) this.#exchange.answer(LOCAL_REPLIES.overflow);
      return undefined;
    }
    if (isPartial && !isPartialBodyShown) {
      this.#exchange.answer(LOCAL_REPLIES.payloadTooLarge);
      return undefined;
    }
    return { bytes: requestBody.waitingStart(bytesMax), isPartial: isPartial || !isDone };
  }

  /** A client that holds its body back (`Expect: 100-continue`) must not hide it that way. */
  #askForBody(): void {
    const exchange = this.#exchange;
    if (!this.#isBodyHeldBack || exchange.isBodyAskedFor) return;
    exchange.isBodyAskedFor = true;
    exchange.session.writeInterim(CONTINUE);
  }

  onAuthorizerAnswer(answer: AuthorizerAnswer): void {
    const exchange = this.#exchange;
    // It may have been given up while the question was on its way.
    if (!exchange.isActive || exchange.check !== this) return;
    this.#call = undefined;
    const { authorizer, provider, verdict } = this.#questions[this.#index]!;
    const isAllowed = answer.kind === "failed" ? authorizer.isFailOpen : answer.kind === "allowed";
    if (provider !== undefined) exchange.noteProviderAnswer(provider, isAllowed);
    if (!isAllowed) {
      if (verdict !== undefined) exchange.verdict = verdict;
      exchange.answer(
        answer.kind === "denied" ? answer.reply : cannotAsk(authorizer.statusOnError),
      );
      return;
    }
    if (answer.kind === "allowed") {
      exchange.authChanges = [...exchange.authChanges, answer.changes];
      if (authorizer.isRouteCacheCleared) exchange.isRoutedByChanges = true;
    }
    this.#index++;
    this.proceed();
  }

  /** The request is over. */
  cancel(): void {
    this.#call?.cancel();
    this.#call = undefined;
  }
}
