/** May this identity do this here? 403 with Istio's words otherwise. */
import type { Exchange } from "../exchange.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";

export function authorize(exchange: Exchange): boolean {
  exchange.target.refresh(exchange.snapshot);
  if (!exchange.target.isServed) {
    // Bound elsewhere since the tunnel was opened.
    exchange.answer(LOCAL_REPLIES.notServed);
    return false;
  }
  const verdict = exchange.target.decider.authorize(exchange);
  exchange.verdict = verdict;
  if (verdict.isAllowed) return true;
  exchange.answer(LOCAL_REPLIES.denied, denialDetails(verdict.policy, verdict.rule));
  return false;
}

/** `rbac_access_denied_matched_policy[ns[default]-policy[view-only]-rule[0]]`, as Istio writes it. */
export function denialDetails(policy: string | undefined, rule: number | undefined): string {
  if (policy === undefined) return "rbac_access_denied_matched_policy[none]";
  const [namespace, name] = policy.split("/");
  return `rbac_access_denied_matched_policy[ns[${namespace}]-policy[${name}]-rule[${rule}]]`;
}
