/** `path` of URLRewrite and RequestRedirect (Gateway API, HTTPPathModifier). */
import type { HttpRouteRule, PathModifier } from "../../model/route.ts";

/** `path` has no query; the prefix is that of the rule's one match. */
export function changedPath(path: string, change: PathModifier, rule: HttpRouteRule): string {
  if (change.type === "ReplaceFullPath") return change.value;
  const prefix = withoutSlash(rule.matches[0]?.path.value ?? "/");
  const rest = path.slice(prefix.length);
  // Nothing stands behind the prefix, or a slash and more: both sides would bring one.
  if (rest === "") return change.value === "" ? "/" : change.value;
  return withoutSlash(change.value) + rest;
}

function withoutSlash(text: string): string {
  return text.endsWith("/") ? text.slice(0, -1) : text;
}
