/**
 * The ways in which Waystone may differ from Envoy: each with the sentence that asks for it, or
 * that leaves it open. What is not of one of these classes is a mistake of somebody's.
 */
import type { HttpMatch } from "../../src/model/route.ts";
import type { Outcome } from "./clients.ts";
import type { Asked, Table } from "./tables.ts";

export interface Difference {
  readonly name: string;
  readonly source: string;
  /** Makes both say alike what the sentence leaves open. */
  readonly level?: (outcome: Outcome, asked: Asked, table: Table) => Outcome;
  /** Whether another rule may match because of it. */
  readonly mayMatchOtherwise?: (asked: Asked, table: Table) => boolean;
}

export const DIFFERENCES: readonly Difference[] = [
  {
    name: "combined lines",
    source:
      'RFC 9110 §5.3: "A recipient MAY combine multiple field lines within a field section that ' +
      'have the same field name into one field line, without changing the semantics"',
    level: (outcome) => onHeaders(outcome, combined),
  },
  {
    name: "well-known port",
    source:
      'Gateway API, HTTPRequestRedirectFilter port: "Implementations SHOULD NOT add the port ' +
      "number in the 'Location' header in the following cases: A Location header that will use " +
      'HTTP … and use port 80"; Envoy writes a port that it is told',
    level: (outcome) => onAnswer(outcome, (line) => line.replace(WELL_KNOWN_PORT, "$1")),
  },
  {
    name: "any origin",
    source:
      'Gateway API, HTTPCORSFilter allowOrigins: "the Access-Control-Allow-Origin response header ' +
      'may either contain the wildcard * or echo the value of the Origin request header"',
    level: (outcome, asked, table) => {
      const origin = asked.headers.find(([name]) => name === "origin")?.[1];
      if (!allowsAnyOrigin(table)) return outcome;
      const echoed = `access-control-allow-origin: ${origin}`;
      const any = "access-control-allow-origin: *";
      return onAnswer(outcome, (line) => (line === echoed ? any : line));
    },
  },
  {
    name: "refused origin",
    source:
      "Gateway API, HTTPCORSFilter allowOrigins: \"the gateway returns 204/200 response but doesn't " +
      'set the relevant cross-origin response headers"; Envoy leaves out the origin alone',
    level: (outcome) => {
      const isAllowed = outcome.headers.some((line) =>
        line.startsWith("access-control-allow-origin"),
      );
      if (isAllowed) return outcome;
      const headers = outcome.headers.filter((line) => !line.startsWith("access-control-"));
      return { ...outcome, headers };
    },
  },
  {
    name: "exposed to preflights",
    source:
      'Fetch standard, CORS protocol: "An HTTP response to a CORS request that is not a ' +
      'CORS-preflight request can also include … Access-Control-Expose-Headers"; Envoy includes it always',
    level: (outcome, asked) =>
      asked.method === "OPTIONS" && outcome.seen === undefined
        ? onAnswer(outcome, (line) =>
            line.startsWith("access-control-expose-headers") ? "" : line,
          )
        : outcome,
  },
  {
    name: "repeated header",
    source:
      'Gateway API, HTTPHeaderMatch name: "When a header is repeated in an HTTP request, it is ' +
      "implementation-specific behavior as to how this is represented. Generally, proxies should " +
      'follow the guidance from the RFC": its values, joined; Envoy matches each',
    mayMatchOtherwise: ({ headers }, table) => {
      const names = headers.map(([name]) => name.toLowerCase());
      const repeated = names.filter((name, index) => names.indexOf(name) < index);
      return matchesOf(table).some((match) =>
        match.headers.some(({ name }) => repeated.includes(name)),
      );
    },
  },
  {
    name: "escaped query",
    source:
      'Gateway API, HTTPQueryParamMatch name: "exact string match (See RFC 7230 §2.7.3)", which ' +
      'says: "Characters other than those in the reserved set are equivalent to their ' +
      'percent-encoded octets"; Envoy compares what was sent',
    mayMatchOtherwise: ({ target }, table) =>
      /\?.*%/.test(target) && matchesOf(table).some((match) => match.queryParams.length > 0),
  },
];

const WELL_KNOWN_PORT = /^(location: (?:http:\/\/[^/:]+(?=:80\/)|https:\/\/[^/:]+(?=:443\/))):\d+/;

function matchesOf({ routes }: Table): readonly HttpMatch[] {
  return routes.flatMap((route) => route.rules.flatMap((rule) => rule.matches));
}

function allowsAnyOrigin({ routes }: Table): boolean {
  const filters = routes.flatMap((route) => route.rules.flatMap((rule) => rule.filters));
  return filters.some((filter) => filter.type === "CORS" && filter.allowOrigins.includes("*"));
}

function onAnswer(outcome: Outcome, change: (line: string) => string): Outcome {
  return { ...outcome, headers: outcome.headers.map(change).filter((line) => line !== "") };
}

function onHeaders(
  outcome: Outcome,
  change: (lines: readonly string[]) => readonly string[],
): Outcome {
  const { headers, seen, mirrored } = outcome;
  return {
    ...outcome,
    headers: change(headers),
    seen: seen && { ...seen, headers: change(seen.headers) },
    mirrored: mirrored && { ...mirrored, headers: change(mirrored.headers) },
  };
}

/** They stand in order of their names. */
function combined(lines: readonly string[]): readonly string[] {
  const byName = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const [name, value] = [line.slice(0, colon), line.slice(colon + 2).replaceAll(", ", ",")];
    const before = byName.get(name);
    byName.set(name, before === undefined ? value : `${before},${value}`);
  }
  return [...byName].map(([name, value]) => `${name}: ${value}`);
}

/** The classes that account for how the two differ; `undefined`: they do not. */
export function explained(
  ours: Outcome,
  theirs: Outcome,
  asked: Asked,
  table: Table,
): readonly string[] | undefined {
  const used: string[] = [];
  let [first, second] = [ours, theirs];
  for (const { name, level } of DIFFERENCES) {
    if (level === undefined) continue;
    const before = !isSame(first, second);
    const changed = [level(first, asked, table), level(second, asked, table)] as const;
    const isUsed = !isSame(changed[0], first) || !isSame(changed[1], second);
    [first, second] = changed;
    if (before && isUsed) used.push(name);
  }
  if (isSame(first, second)) return used;
  const other = DIFFERENCES.find((one) => one.mayMatchOtherwise?.(asked, table));
  return other === undefined ? undefined : [other.name];
}

export function isSame(a: Outcome, b: Outcome): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
