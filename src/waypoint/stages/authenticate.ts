/** RequestAuthentication: are the tokens good? 401 or 403 in Envoy's words otherwise. */

import { H, ownHeaderId } from "../../net/http1/header-names.ts";
import type { HeadEdits } from "../../net/http1/rewrite.ts";
import type { PassedAuthentication } from "../../policy/jwt/authenticator.ts";
import { withoutCookies, withoutParameters } from "../../policy/jwt/places.ts";
import type { Exchange } from "../exchange.ts";
import type { LocalReply } from "../local-replies.ts";

export function authenticate(exchange: Exchange): boolean {
  const { authenticator } = exchange.target.decider;
  if (authenticator === undefined) return true;
  exchange.seenChanges = exchange.authChanges;
  const result = authenticator.authenticate(exchange, Date.now());
  if (!result.isPassed) {
    exchange.refusal = `${result.status} ${result.reason}`;
    exchange.answer(replyOf(exchange, result.status, result.reason));
    return false;
  }
  exchange.jwt = result.jwt;
  exchange.authentication = result;
  if (result.removedParameters.size > 0) {
    exchange.query = withoutParameters(exchange.query, result.removedParameters);
  }
  return true;
}

/** RFC 6750 §3. */
function replyOf({ authority, path }: Exchange, status: number, reason: string): LocalReply {
  const challenge = `Bearer realm="http://${authority}${path}", error="invalid_token"`;
  return {
    status,
    body: reason,
    flags: "-",
    details: `jwt_authn_access_denied{${reason.replaceAll(" ", "_")}}`,
    headers: ["www-authenticate", challenge],
  };
}

/** What the backend sees of the tokens, and of the claims. */
export function applyAuthentication(
  { removedHeaders, setHeaders, removedCookies }: PassedAuthentication,
  cookies: string | undefined,
  edits: HeadEdits,
): void {
  for (const name of removedHeaders) edits.remove(ownHeaderId(name));
  for (const [name, value] of setHeaders) edits.set(ownHeaderId(name), value);
  if (removedCookies.size === 0 || cookies === undefined) return;
  const left = withoutCookies(cookies, removedCookies);
  if (left === "") edits.remove(H.cookie);
  else edits.set(H.cookie, left);
}
