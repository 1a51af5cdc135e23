/** Where a request carries tokens: headers, query parameters, cookies. */
import type { JwtRule } from "../../model/request-authentication.ts";
import type { HttpFacts } from "../facts.ts";

export interface FoundToken {
  readonly text: string;
  /** `header authorization`, `parameter access_token`, `cookie token`. */
  readonly place: string;
}

type Places = Pick<JwtRule, "fromHeaders" | "fromParams" | "fromCookies">;

export function findTokens(places: Places, facts: HttpFacts): FoundToken[] {
  const found: FoundToken[] = [];
  const add = (text: string, place: string) => {
    if (text !== "") found.push({ text, place });
  };
  for (const { name, prefix } of places.fromHeaders) {
    const value = facts.header(name);
    if (value === undefined) continue;
    // Several lines of one name are joined: each of them may be a token, and all must be good.
    for (const part of value.split(",")) {
      const text = part.trim();
      if (text.startsWith(prefix)) add(text.slice(prefix.length).trim(), `header ${name}`);
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
    if (equals > 0 && decoded(part.slice(0, equals)) === name)
      yield decoded(part.slice(equals + 1));
  }
}

function* cookiesOf(header: string | undefined, name: string): Generator<string> {
  for (const part of header?.split(/[;,]/) ?? []) {
    const equals = part.indexOf("=");
    if (equals > 0 && part.slice(0, equals).trim() === name) yield part.slice(equals + 1).trim();
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
