/**
 * The way of a request through the waypoint, in order, on one screen.
 *
 *     request head complete
 *       identify       400  the path cannot be normalised
 *       askProviders   403  CUSTOM: what the mesh's authorizers say
 *       authenticate   401  a token that is not good; 403 one for somebody else
 *       authorize      403  DENY, ALLOW: who may do this?
 *       route          404  routes exist and none matches
 *       filter         500  a filter that cannot be acted on; 200 a CORS preflight
 *       authorizeForRule    ExternalAuth: the authorizer's answer; 403 when it cannot be asked
 *       redirect       3xx
 *       chooseBackend  500  the chosen backend does not exist, or no backend has weight
 *       authorizeForBackend likewise, for that backend alone
 *       rewrite             the head as the backend will see it
 *       balance        503  no healthy endpoint
 *       forward        503  no connection (after retries), 504 too slow
 *     answer head, body … end
 *       record              metrics, access log, decision: for every way out
 *
 * A stage returns true to go on; otherwise it has answered, or will have the stages behind it run
 * later (`Exchange.resume()`), or the answer will come from upstream. A new stage is a file in stages/ and a line here.
 */
import type { Exchange } from "./exchange.ts";
import { authenticate } from "./stages/authenticate.ts";
import { askProviders, authorize } from "./stages/authorize.ts";
import { authorizeForBackend, authorizeForRule } from "./stages/authorize-externally.ts";
import { balance } from "./stages/balance.ts";
import { chooseBackend } from "./stages/choose-backend.ts";
import { filter, redirectForRule } from "./stages/filter.ts";
import { forward } from "./stages/forward.ts";
import { identify } from "./stages/identify.ts";
import { rewrite } from "./stages/rewrite.ts";
import { route } from "./stages/route.ts";

type Stage = (exchange: Exchange) => boolean;

const STAGES: readonly Stage[] = [
  identify,
  askProviders,
  authenticate,
  authorize,
  route,
  filter,
  authorizeForRule,
  redirectForRule,
  chooseBackend,
  authorizeForBackend,
  rewrite,
  balance,
  forward,
];

/** Runs the stages from the one that is next. */
export function runStages(exchange: Exchange): void {
  while (exchange.stage < STAGES.length) {
    if (!STAGES[exchange.stage++]!(exchange)) return;
  }
}
