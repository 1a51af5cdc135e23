/** Which rule? The first that matches by the Gateway API's precedence; 404 when none does. */
import type { Exchange } from "../exchange.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";

export function route(exchange: Exchange): boolean {
  const choice = exchange.target.decider.chooseRoute(exchange);
  exchange.choice = choice;
  if (choice !== undefined) {
    exchange.limitTime(choice.rule?.requestTimeoutMs ?? 0);
    return true;
  }
  exchange.answer(LOCAL_REPLIES.noRoute);
  return false;
}
