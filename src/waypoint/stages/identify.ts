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
  exchange.decisionId = head.get(H.xWaystoneDecision) ?? "";
  if (exchange.decisionId === "" && exchange.context.decisions.recordsAll) {
    exchange.decisionId = newRequestId();
  }
  exchange.decisionHeaders = exchange.decisionId === "" ? NO_FIELDS : fieldsOf(head);
  if (exchange.context.accessLog.isOn) {
    exchange.userAgent = head.get(H.userAgent) ?? "";
    exchange.forwardedFor = head.get(H.xForwardedFor) ?? "";
  }
  if (path !== undefined) return true;
  exchange.answer(LOCAL_REPLIES.badPath);
  return false;
}
