/**
 * What istiod's monitoring port (15014) serves beside metrics: `/version`, `/ready`, `/debug/…`.
 *
 * Pages of `/debug` are for somebody on the same machine (`kubectl port-forward` comes from there),
 * and for those with a token that proves an account: of the root namespace all is shown, of others
 * what is theirs.
 */
import { jsonResponse, textResponse } from "../../agent/admin-routes.ts";
import type { AdminResponse, AdminRoute } from "../../agent/admin-server.ts";
import type { Readiness } from "../../agent/readiness.ts";
import { type Authenticator, bearerToken, isUnauthenticated } from "./authenticator.ts";
import type { DebugPages, Sees } from "./debug-pages.ts";
import { seenBy } from "./debug-service.ts";

export interface MonitoringOptions {
  readonly version: string;
  readonly readiness: Readiness;
  readonly pages: DebugPages;
  readonly authenticator: Authenticator;
  readonly rootNamespace: () => string;
}

const ALL: Sees = () => true;

export function monitoringRoutes(options: MonitoringOptions): readonly AdminRoute[] {
  const { version, readiness, pages } = options;
  const list = guarded(options, () => jsonResponse(pages.list));
  const get = (path: string, description: string, handler: AdminRoute["handler"]): AdminRoute => ({
    method: "GET",
    path,
    description,
    handler,
  });
  return [
    // In the three parts that istioctl takes apart: version, build, state.
    get("/version", "this program's version", () => textResponse(`${version}-waystone-Clean`)),
    get("/ready", "200 when proxies are served", () =>
      readiness.isReady
        ? textResponse("")
        : textResponse(`not ready\n${readiness.reasons.join("\n")}\n`, 503),
    ),
    get("/debug", "the pages below it", list),
    get(
      "/debug/",
      "<page>: the control plane's view of the mesh",
      guarded(options, ({ rest, query }, sees) => {
        if (rest === "list") return jsonResponse(pages.list);
        const value = pages.page(rest, sees, query);
        if (value !== undefined) return jsonResponse(value);
        return textResponse(`there is no such page; known: ${pages.names.join(", ")}\n`, 404);
      }),
    ),
  ];
}

type Request = Parameters<AdminRoute["handler"]>[0];

function guarded(
  { authenticator, rootNamespace }: MonitoringOptions,
  answer: (request: Request, sees: Sees) => AdminResponse,
): AdminRoute["handler"] {
  return async (request) => {
    if (request.isLocal) return answer(request, ALL);
    try {
      const caller = await authenticator.authenticate(bearerToken(request.authorization));
      return answer(request, seenBy(caller, rootNamespace()));
    } catch (caught) {
      if (isUnauthenticated(caught)) return textResponse("the token is not accepted\n", 401);
      return textResponse("tokens cannot be judged now\n", 503);
    }
  };
}
