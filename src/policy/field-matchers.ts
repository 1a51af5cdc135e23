/**
 * What the fields of a rule become when they are compiled: objects that look at one of the facts
 * and compare it. None allocates, and none knows whether it stands in an ALLOW or a DENY.
 */
import type { FieldMatch, FieldValue } from "../model/rule.ts";
import type { ConnectionFacts, HttpFacts } from "./facts.ts";
import { addresses, IpRange, inAnyRange } from "./match/cidr.ts";
import { authorities } from "./match/host.ts";
import { peerOf } from "./match/peer.ts";
import type { StringSet } from "./match/string.ts";

export interface Matcher<F> {
  /** What it looks at; matchers of one fact see the same value. */
  readonly fact: string;
  /** The value, as far as the answer depends on it. */
  look(facts: F): string | undefined;
  matches(facts: F): boolean;
}

/** Any of the strings wanted (if there are any), and none of the others. */
abstract class StringMatcher<F> implements Matcher<F> {
  abstract readonly fact: string;
  readonly wanted: StringSet;
  readonly unwanted: StringSet;

  constructor(wanted: StringSet, unwanted: StringSet) {
    this.wanted = wanted;
    this.unwanted = unwanted;
  }

  abstract look(facts: F): string | undefined;

  matches(facts: F): boolean {
    const value = this.look(facts);
    if (!this.wanted.isEmpty && !this.wanted.matches(value)) return false;
    return !this.unwanted.matches(value);
  }
}

export class PrincipalMatcher extends StringMatcher<ConnectionFacts> {
  readonly fact = "principal";

  look(facts: ConnectionFacts): string | undefined {
    return peerOf(facts.sourceIdentity).principal;
  }
}

export class TrustDomainMatcher extends StringMatcher<ConnectionFacts> {
  readonly fact = "trustDomain";

  look(facts: ConnectionFacts): string | undefined {
    return peerOf(facts.sourceIdentity).trustDomain;
  }
}

export class ServerNameMatcher extends StringMatcher<ConnectionFacts> {
  readonly fact = "sni";

  look(facts: ConnectionFacts): string | undefined {
    return facts.serverName;
  }
}

export class NamespaceMatcher extends StringMatcher<ConnectionFacts> {
  readonly fact = "namespace";

  look(facts: ConnectionFacts): string | undefined {
    return peerOf(facts.sourceIdentity).namespace;
  }
}

export class ServiceAccountMatcher extends StringMatcher<ConnectionFacts> {
  readonly fact = "serviceAccount";

  look(facts: ConnectionFacts): string | undefined {
    return peerOf(facts.sourceIdentity).serviceAccount;
  }
}

export class HostMatcher extends StringMatcher<HttpFacts> {
  readonly fact = "host";

  look(facts: HttpFacts): string {
    return authorities.get(facts.authority).text;
  }
}

export class MethodMatcher extends StringMatcher<HttpFacts> {
  readonly fact = "method";

  look(facts: HttpFacts): string {
    return facts.method;
  }
}

export class PathMatcher extends StringMatcher<HttpFacts> {
  readonly fact = "path";

  look(facts: HttpFacts): string {
    return facts.path;
  }
}

export class HeaderMatcher extends StringMatcher<HttpFacts> {
  readonly fact: string;
  readonly #name: string;

  constructor(name: string, wanted: StringSet, unwanted: StringSet) {
    super(wanted, unwanted);
    this.fact = `header:${name}`;
    this.#name = name;
  }

  look(facts: HttpFacts): string | undefined {
    return headerOf(facts, this.#name);
  }

  /** `*` means that the header is there, be it empty (Envoy's `present_match`). */
  override matches(facts: HttpFacts): boolean {
    const value = this.look(facts);
    if (value !== "") return super.matches(facts);
    const isWanted = this.wanted.isEmpty || this.wanted.hasPresence || this.wanted.matches(value);
    return isWanted && !this.unwanted.hasPresence && !this.unwanted.matches(value);
  }
}

export class RequestPrincipalMatcher extends StringMatcher<HttpFacts> {
  readonly fact = "requestPrincipal";

  look(facts: HttpFacts): string | undefined {
    return facts.jwt?.principal;
  }
}

/** Any of a claim's values, where it is a list. */
export class ClaimMatcher implements Matcher<HttpFacts> {
  readonly fact: string;
  readonly #path: readonly string[];
  readonly #wanted: StringSet;
  readonly #unwanted: StringSet;

  /** `name`: as in `claim:<name>`. */
  constructor(name: string, wanted: StringSet, unwanted: StringSet) {
    this.fact = `claim:${name}`;
    this.#path = claimPath(name);
    this.#wanted = wanted;
    this.#unwanted = unwanted;
  }

  look(facts: HttpFacts): string {
    return JSON.stringify(claimValues(facts, this.#path));
  }

  matches(facts: HttpFacts): boolean {
    const values = claimValues(facts, this.#path);
    if (!this.#wanted.isEmpty && !values.some((value) => this.#wanted.matches(value))) return false;
    return !values.some((value) => this.#unwanted.matches(value));
  }
}

/** `a][b` → `a`, `b`. */
export function claimPath(name: string): readonly string[] {
  return name.split("][");
}

const NO_VALUES: readonly string[] = [];

/** Of what is a text, or a list of texts; nothing else can be compared (Envoy's metadata). */
export function claimValues(facts: HttpFacts, path: readonly string[]): readonly string[] {
  let at: unknown = facts.jwt?.claims;
  for (const name of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, name)) return NO_VALUES;
    at = (at as Record<string, unknown>)[name];
  }
  if (typeof at === "string") return [at];
  return Array.isArray(at) ? at.filter((one) => typeof one === "string") : NO_VALUES;
}

/** A header, or what HTTP/2 has as a pseudo header: `request.headers[:method]`. */
export function headerOf(facts: HttpFacts, name: string): string | undefined {
  switch (name) {
    case ":method":
      return facts.method;
    case ":authority":
    case "host":
      return facts.authority;
    case ":path":
      return facts.query === "" ? facts.path : `${facts.path}?${facts.query}`;
    default:
      return facts.header(name);
  }
}

abstract class AddressMatcher implements Matcher<ConnectionFacts> {
  abstract readonly fact: string;
  readonly #wanted: readonly IpRange[];
  readonly #unwanted: readonly IpRange[];

  constructor(field: FieldMatch) {
    this.#wanted = rangesOf(field.values);
    this.#unwanted = rangesOf(field.notValues);
  }

  abstract look(facts: ConnectionFacts): string;

  matches(facts: ConnectionFacts): boolean {
    const address = addresses.get(this.look(facts));
    if (this.#wanted.length > 0 && !inAnyRange(this.#wanted, address)) return false;
    return !inAnyRange(this.#unwanted, address);
  }
}

export class SourceIpMatcher extends AddressMatcher {
  readonly fact = "sourceIp";

  look(facts: ConnectionFacts): string {
    return facts.sourceAddress;
  }
}

export class RemoteIpMatcher extends AddressMatcher {
  readonly fact = "remoteIp";

  look(facts: ConnectionFacts): string {
    return remoteAddressOf(facts);
  }
}

/** Nobody forwards for a connection. */
export function remoteAddressOf(facts: ConnectionFacts | HttpFacts): string {
  return ("remoteAddress" in facts ? facts.remoteAddress : undefined) ?? facts.sourceAddress;
}

export class DestinationIpMatcher extends AddressMatcher {
  readonly fact = "destinationIp";

  look(facts: ConnectionFacts): string {
    return facts.destinationAddress;
  }
}

function rangesOf(values: readonly FieldValue[]): readonly IpRange[] {
  return values.flatMap((value) => (value.type === "cidr" ? [new IpRange(value.cidr)] : []));
}

export class PortMatcher implements Matcher<ConnectionFacts> {
  readonly fact = "port";
  readonly #wanted: ReadonlySet<number>;
  readonly #unwanted: ReadonlySet<number>;

  constructor(field: FieldMatch) {
    this.#wanted = portsOf(field.values);
    this.#unwanted = portsOf(field.notValues);
  }

  look(facts: ConnectionFacts): string {
    return String(facts.destinationPort);
  }

  matches(facts: ConnectionFacts): boolean {
    if (this.#wanted.size > 0 && !this.#wanted.has(facts.destinationPort)) return false;
    return !this.#unwanted.has(facts.destinationPort);
  }
}

function portsOf(values: readonly FieldValue[]): ReadonlySet<number> {
  return new Set(values.flatMap((value) => (value.type === "port" ? [value.port] : [])));
}
