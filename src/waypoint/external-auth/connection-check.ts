/** The same for a connection that is not looked into: what CUSTOM policies want asked about it. */
import type { Snapshot } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import type { ProviderQuestion } from "../../policy/custom-policies.ts";
import type { Verdict } from "../../policy/verdict.ts";
import type { WaypointContext } from "../context.ts";
import type { AuthorizerAnswer } from "./answer.ts";
import type { AskedConnection } from "./asked-request.ts";
import { AuthorizerCall, type AuthorizerListener } from "./authorizer-call.ts";
import { type Question, questionsOf } from "./check.ts";
import { NO_BODY } from "./shown-body.ts";

export interface ConnectionCheckListener {
  /** `undefined`: nobody objects. */
  onChecked(refused: Verdict | undefined): void;
}

export class ConnectionCheck implements AuthorizerListener {
  readonly #context: WaypointContext;
  readonly #snapshot: Snapshot;
  readonly #source: Workload | undefined;
  readonly #asked: AskedConnection;
  readonly #listener: ConnectionCheckListener;
  #questions: readonly Question[] = [];
  #index = 0;
  #call: AuthorizerCall | undefined;

  constructor(
    context: WaypointContext,
    snapshot: Snapshot,
    source: Workload | undefined,
    asked: AskedConnection,
    listener: ConnectionCheckListener,
  ) {
    this.#context = context;
    this.#snapshot = snapshot;
    this.#source = source;
    this.#asked = asked;
    this.#listener = listener;
  }

  start(asked: readonly ProviderQuestion[]): void {
    const { questions, refused } = questionsOf(asked, this.#snapshot.settings);
    this.#questions = questions;
    if (refused !== undefined) this.#listener.onChecked(refused);
    else this.#ask();
  }

  #ask(): void {
    const question = this.#questions[this.#index];
    if (question === undefined) {
      this.#listener.onChecked(undefined);
      return;
    }
    this.#call = new AuthorizerCall(question.authorizer, this);
    this.#call.start(this.#context, this.#snapshot, this.#source, this.#asked, NO_BODY);
  }

  onAuthorizerAnswer({ kind }: AuthorizerAnswer): void {
    const { authorizer, verdict } = this.#questions[this.#index++]!;
    const isAllowed = kind === "failed" ? authorizer.isFailOpen : kind === "allowed";
    if (isAllowed) this.#ask();
    else this.#listener.onChecked(verdict);
  }

  cancel(): void {
    this.#call?.cancel();
  }
}
