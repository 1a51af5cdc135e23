/** May this identity do this here? 403 with Istio's words otherwise. */
import type { Verdict } from "../../policy/verdict.ts";
import type { Exchange } from "../exchange.ts";
import { changedFields, NO_CHANGES } from "../external-auth/answer.ts";
import { ExternalAuthCheck, questionsOf } from "../external-auth/check.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";

/** CUSTOM policies: the mesh's providers are asked, each once. */
export function askProviders(exchange: Exchange): boolean {
  exchange.target.refresh(exchange.snapshot);
  if (!exchange.target.isServed) {
    // Bound elsewhere since the tunnel was opened.
    exchange.answer(LOCAL_REPLIES.notServed);
    return false;
  }
  const asked = exchange.target.decider.questions(exchange);
  if (asked.length === 0) return true;
  const { questions, refused } = questionsOf(asked, exchange.snapshot.settings);
  if (refused !== undefined) return deny(exchange, refused);
  exchange.check = new ExternalAuthCheck(exchange, questions);
  exchange.check.proceed();
  return false;
}

/** DENY and ALLOW see the request as the providers have left it. */
export function authorize(exchange: Exchange): boolean {
  const { authChanges, decisionHeaders } = exchange;
  exchange.seenChanges = authChanges;
  if (authChanges.length > 0)
    exchange.decisionHeaders = changedFields(decisionHeaders, authChanges);
  const { decider, cluster } = exchange.target;
  const verdict = decider.authorize(exchange);
  exchange.verdict = verdict;
  const { shadow } = decider;
  if (shadow !== undefined) {
    const counts = exchange.context.shadows.of(shadow, "", cluster.service?.hostname ?? "");
    shadow.judge(exchange, verdict, counts);
  }
  if (!exchange.isRoutedByChanges) exchange.seenChanges = NO_CHANGES;
  return verdict.isAllowed || deny(exchange, verdict);
}

function deny(exchange: Exchange, verdict: Verdict): false {
  exchange.verdict = verdict;
  exchange.answer(LOCAL_REPLIES.denied, denialDetails(verdict.policy, verdict.rule));
  return false;
}

/** `rbac_access_denied_matched_policy[ns[default]-policy[view-only]-rule[0]]`, as Istio writes it. */
export function denialDetails(policy: string | undefined, rule: number | undefined): string {
  if (policy === undefined) return "rbac_access_denied_matched_policy[none]";
  const [namespace, name] = policy.split("/");
  return `rbac_access_denied_matched_policy[ns[${namespace}]-policy[${name}]-rule[${rule}]]`;
}
