/**
 * What is asked, in the form that policies and routes compare: the path normalised as the mesh
 * settings say. Who asks was established by the tunnel's certificate; headers say nothing about it.
 */
import { H } from "../../net/http1/header-names.ts";
import { normalizePath } from "../../net/path.ts";
import { newRequestId } from "../../telemetry/request-id.ts";
import type { Exchange } from "../exchange.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";
import { fieldsOf } from "../request-heads.ts";

const NO_FIELDS: readonly string[] = [];

export function identify(exchange: Exchange): boolean {
  const { head } = exchange;
  const path = normalizePath(head.path, exchange.snapshot.settings.pathNormalization);
  exchange.path = path ?? head.path;
  nameDecision(exchange);
  exchange.decisionHeaders = exchange.decisionId === "" ? NO_FIELDS : fieldsOf(head);
  if (exchange.context.accessLog.isOn) {
    exchange.userAgent = head.get(H.userAgent) ?? "";
    exchange.forwardedFor = head.get(H.xForwardedFor) ?? "";
  }
  if (path !== undefined) return true;
  exchange.answer(LOCAL_REPLIES.badPath);
  return false;
}

/**
 * Under which id is the decision kept, if it is? Where every answer says it, what the client says
 * is not listened to: nobody is to be shown somebody else's decision for his own.
 *
 * The request's own id serves, where it is ours: it stands in access logs already.
 */
function nameDecision(exchange: Exchange): void {
  const { head, snapshot, context } = exchange;
  const isTold = snapshot.settings.decisionHeader;
  exchange.isDecisionTold = isTold;
  exchange.decisionId = isTold ? "" : (head.get(H.xWaystoneDecision) ?? "");
  if (exchange.decisionId !== "" || !(isTold || context.decisions.recordsAll)) return;
  exchange.decisionId = newRequestId();
  exchange.requestId = head.get(H.xRequestId) || exchange.decisionId;
}
