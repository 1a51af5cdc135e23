/** Paths of an AuthorizationPolicy with `{*}` and `{**}` (Envoy's URI templates). */
const ONE = "{*}";
const REST = "{**}";
/** RFC 3986 pchar, but for the asterisk. */
const LITERAL = /^[a-zA-Z0-9\-._~%!$&'()+,;:@=]+$/;

/** What is wrong with a path; undefined: nothing. */
export function pathTemplateProblem(path: string): string | undefined {
  const isTemplate = path.includes(ONE) || path.includes(REST);
  let isRestSeen = false;
  for (const segment of path.replace(/^\/+|\/+$/g, "").split("/")) {
    if (segment === ONE || segment === REST) {
      if (isRestSeen) return "must end with its {**}: nothing can be matched behind it";
      isRestSeen = segment === REST;
    } else if (/[{}]/.test(segment)) {
      return "may have { and } only as {*} or {**}, each a whole segment";
    } else if (isTemplate && !LITERAL.test(segment)) {
      return `has the segment ${JSON.stringify(segment)}, which no template may have`;
    }
  }
  return undefined;
}
