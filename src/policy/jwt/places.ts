/** Where a request carries tokens: headers, query parameters, cookies. */
import type { JwtRule } from "../../model/request-authentication.ts";
import type { HttpFacts } from "../facts.ts";

export interface FoundToken {
  readonly text: string;
  /** The same with the prefix that its rule asks for. */
  readonly written: string;
  /** `header authorization`, `parameter access_token`, `cookie token`. */
  readonly place: string;
}

type Places = Pick<JwtRule, "fromHeaders" | "fromParams" | "fromCookies">;

export function findTokens(places: Places, facts: HttpFacts): FoundToken[] {
  const found: FoundToken[] = [];
  // An empty one is a token, too, and no good one.
  const add = (text: string, place: string, written = text) => {
    found.push({ text, written, place });
  };
  for (const { name, prefix } of places.fromHeaders) {
    const value = facts.header(name);
    if (value === undefined) continue;
    // Several lines of one name are joined: each of them may be a token, and all must be good.
    for (const part of value.split(",")) {
      const written = part.trim();
      if (!written.startsWith(prefix)) continue;
      add(written.slice(prefix.length).trim(), `header ${name}`, written);
    }
  }
  for (const name of places.fromParams) {
    for (const text of parametersOf(facts.query, name)) add(text, `parameter ${name}`);
  }
  for (const name of places.fromCookies) {
    for (const text of cookiesOf(facts.header("cookie"), name)) add(text, `cookie ${name}`);
  }
  return found;
}

function* parametersOf(query: string, name: string): Generator<string> {
  if (query === "") return;
  for (const part of query.split("&")) {
    const equals = part.indexOf("=");
    const end = equals < 0 ? part.length : equals;
    if (decoded(part.slice(0, end)) === name) yield decoded(part.slice(end + 1));
  }
}

/** RFC 6265 §4.1.1: a value may stand in quotes. */
function* cookiesOf(header: string | undefined, name: string): Generator<string> {
  for (const part of header?.split(/[;,]/) ?? []) {
    const equals = part.indexOf("=");
    if (equals <= 0 || part.slice(0, equals).trim() !== name) continue;
    const value = part.slice(equals + 1).trimEnd();
    yield /^".*"$/.test(value) ? value.slice(1, -1) : value;
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The query without these parameters. */
export function withoutParameters(query: string, names: ReadonlySet<string>): string {
  if (names.size === 0) return query;
  return query
    .split("&")
    .filter((part) => !names.has(decoded(part.split("=", 1)[0]!)))
    .join("&");
}

/** The header without these cookies; "" when none is left. */
export function withoutCookies(header: string, names: ReadonlySet<string>): string {
  return header
    .split(";")
    .filter((part) => !names.has(part.split("=", 1)[0]!.trim()))
    .map((part) => part.trim())
    .join("; ");
}
