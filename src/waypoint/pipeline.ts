/**
 * The way of a request through the waypoint, in order, on one screen.
 *
 *     request head complete
 *       identify       400  the path cannot be normalised
 *       authorize      403  CUSTOM, DENY, ALLOW: who may do this?
 *       route          404  routes exist and none matches
 *       filter         500  a filter that cannot be acted on
 *                      200, 3xx  a CORS preflight, a redirect
 *       chooseBackend  500  the chosen backend does not exist, or no backend has weight
 *       rewrite             the head as the backend will see it
 *       balance        503  no healthy endpoint
 *       forward        503  no connection (after retries), 504 too slow
 *     answer head, body … end
 *       record              metrics, access log, decision: for every way out
 *
 * A stage returns true to go on; otherwise it has answered, or the answer will come from upstream.
 * A new stage is a file in stages/ and a line here.
 */
import type { Exchange } from "./exchange.ts";
import { authorize } from "./stages/authorize.ts";
import { balance } from "./stages/balance.ts";
import { chooseBackend } from "./stages/choose-backend.ts";
import { filter } from "./stages/filter.ts";
import { forward } from "./stages/forward.ts";
import { identify } from "./stages/identify.ts";
import { rewrite } from "./stages/rewrite.ts";
import { route } from "./stages/route.ts";

type Stage = (exchange: Exchange) => boolean;

const STAGES: readonly Stage[] = [
  identify,
  authorize,
  route,
  filter,
  chooseBackend,
  rewrite,
  balance,
  forward,
];

export function runStages(exchange: Exchange): void {
  for (let i = 0; i < STAGES.length; i++) {
    if (!STAGES[i]!(exchange)) return;
  }
}
