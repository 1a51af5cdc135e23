/**
 * The filters of a rule or of a backend, compiled once: what they do to a request's head, to the
 * answer's, and which of them answer by themselves. Rules without filters have none of this.
 */
import type {
  CorsFilter,
  MirrorFilter,
  RedirectFilter,
  RewriteFilter,
  RouteFilter,
} from "../../model/route.ts";
import { filterAuthorizer } from "../external-auth/authorizer.ts";
import type { Question } from "../external-auth/check.ts";
import { CorsRules } from "./cors.ts";
import { HeaderChanges } from "./header-changes.ts";

export class RouteFilters {
  readonly request: HeaderChanges | undefined;
  readonly response: HeaderChanges | undefined;
  readonly redirect: RedirectFilter | undefined;
  readonly rewrite: RewriteFilter | undefined;
  readonly cors: CorsRules | undefined;
  readonly mirrors: readonly MirrorFilter[];
  readonly externalAuths: readonly Question[];

  constructor(filters: readonly RouteFilter[]) {
    const of = <T extends RouteFilter["type"]>(type: T) =>
      filters.filter((f): f is Extract<RouteFilter, { type: T }> => f.type === type);
    const [request] = of("RequestHeaderModifier");
    const [response] = of("ResponseHeaderModifier");
    const [cors] = of("CORS") as CorsFilter[];
    this.request = request && new HeaderChanges(request.headers);
    this.response = response && new HeaderChanges(response.headers);
    this.redirect = of("RequestRedirect")[0];
    this.rewrite = of("URLRewrite")[0];
    this.cors = cors && new CorsRules(cors);
    this.mirrors = of("RequestMirror");
    this.externalAuths = of("ExternalAuth").map((filter) => ({
      authorizer: filterAuthorizer(filter),
    }));
  }
}

const compiled = new WeakMap<readonly RouteFilter[], RouteFilters>();

/** The same object for the same list; null for an empty one. */
export function routeFilters(filters: readonly RouteFilter[]): RouteFilters | null {
  if (filters.length === 0) return null;
  const known = compiled.get(filters);
  if (known !== undefined) return known;
  const made = new RouteFilters(filters);
  compiled.set(filters, made);
  return made;
}
