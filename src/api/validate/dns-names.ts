/** Host names as Istio takes them: RFC 1123 labels, in some places with a wildcard before them. */
import { isIP } from "node:net";

const LABEL = /^[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/;
/** The first label may be `*`, or begin with `*` (and, for prefixes, end with it). */
const WILDCARD_LABEL = /^(?:\*|(?:\*|\*-)?[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)$/;
const NAME_LENGTH_MAX = 255;

export function isDnsLabel(text: string): boolean {
  return LABEL.test(text);
}

/** What is wrong with a host name; undefined: nothing. */
export function hostNameProblem(name: string): string | undefined {
  return lengthProblem(name) ?? labelsProblem(name);
}

/** A host name whose first label may have a wildcard. */
export function wildcardHostProblem(name: string): string | undefined {
  const problem = lengthProblem(name);
  if (problem !== undefined) return problem;
  const dot = name.indexOf(".");
  const first = dot < 0 ? name : name.slice(0, dot);
  if (!WILDCARD_LABEL.test(first)) {
    return `has the label ${JSON.stringify(first)}, which is none (only the first may have a "*", in front)`;
  }
  return dot < 0 ? undefined : labelsProblem(name.slice(dot + 1));
}

/** `*foo.example.com`: the wildcard takes a part of a label. */
export function isPartialWildcard(name: string): boolean {
  return name !== "*" && name.includes("*") && !name.startsWith("*.");
}

export function isAddressOrHostName(text: string): boolean {
  return isIP(text) !== 0 || hostNameProblem(text) === undefined;
}

/** Whether all names that the first stands for are among those of the second. */
export function isHostSubset(name: string, of: string): boolean {
  if (!of.startsWith("*")) return name === of;
  const suffix = of.slice(1);
  const own = name.startsWith("*") ? name.slice(1) : name;
  return own.length >= suffix.length && own.endsWith(suffix);
}

/** Whether there is a name that both stand for. */
export function hostsOverlap(a: string, b: string): boolean {
  return isHostSubset(a, b) || isHostSubset(b, a);
}

function lengthProblem(name: string): string | undefined {
  if (name === "") return "must not be empty";
  return name.length > NAME_LENGTH_MAX
    ? `is longer than a host name may be (${NAME_LENGTH_MAX})`
    : undefined;
}

function labelsProblem(name: string): string | undefined {
  const labels = name.split(".");
  const last = labels.at(-1) ?? "";
  if (/^[-+]?\d+$/.test(last)) return `ends with ${last}: a host name's last label is no number`;
  // A dot at the end says that the name is whole.
  const named = last === "" && labels.length > 1 ? labels.slice(0, -1) : labels;
  const bad = named.find((label) => !LABEL.test(label));
  return bad === undefined ? undefined : `has the label ${JSON.stringify(bad)}, which is none`;
}
