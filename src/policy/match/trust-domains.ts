/**
 * Trust-domain aliases: a principal written with the mesh's own trust domain, or one of its former
 * names, stands for all of them (MeshConfig `trustDomainAliases`), so that policies survive a change
 * of the trust domain. `cluster.local` always means the mesh's own.
 *
 * As Istio does, only principals of five segments are looked at (`td/ns/x/sa/y`), a wildcard
 * trust domain (`*-td`) stays as it is for the names it covers, and `*` is left alone.
 */
import type { StringMatch } from "../../model/rule.ts";
import type { MeshSettings } from "../../model/settings.ts";
import { formatStringMatch } from "./string.ts";

const LOCAL = "cluster.local";

/** The match itself, or one for each name of the mesh's trust domain. */
export function withAliases(match: StringMatch, settings: MeshSettings): readonly StringMatch[] {
  const text = formatStringMatch(match);
  const segments = text.split("/");
  const written = segments[0]!;
  if (segments.length !== 5 || written === "*") return [match];
  const names = [settings.trustDomain, ...settings.trustDomainAliases];
  if (written !== LOCAL && !names.some((name) => covers(written, name))) return [match];
  const rest = text.slice(written.length);
  const expanded = names.map((name) => (covers(written, name) ? text : `${name}${rest}`));
  return [...new Set(expanded)].map(parseStringMatch);
}

function covers(written: string, name: string): boolean {
  return written.startsWith("*") ? name.endsWith(written.slice(1)) : written === name;
}

function parseStringMatch(text: string): StringMatch {
  if (text === "*") return { type: "presence" };
  if (text.startsWith("*")) return { type: "suffix", value: text.slice(1) };
  if (text.endsWith("*")) return { type: "prefix", value: text.slice(0, -1) };
  return { type: "exact", value: text };
}
