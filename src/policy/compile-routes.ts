/**
 * Routes of a service port, compiled: a request looks only at routes whose path it can match.
 *
 *     exact paths   a hash map
 *     prefixes      a radix tree; from the longest that matches, each prefix knows the next shorter
 *     expressions   a list, after all prefixes
 *     host names    (Gateway's routes only) one such table for each, the most specific first
 *
 * Looking allocates nothing, apart from what an expression or a percent sign costs.
 */
import type {
  AttachedRoute,
  HttpBackend,
  HttpRoute,
  HttpRouteRule,
  ValueMatch,
} from "../model/route.ts";
import type { HttpFacts } from "./facts.ts";
import { authorities, matchingHostnames } from "./match/host.ts";
import { queryParameter } from "./match/query.ts";
import { compileRegex, LiteralMatcher, type ValueMatcher } from "./match/regex.ts";
import {
  candidatesOf,
  compareCandidates,
  prefixOf,
  type RouteCandidate,
  routeName,
  totalWeight,
} from "./route-order.ts";
import type { RouteChoice } from "./verdict.ts";

/** A rule's backends with their shares. */
export class WeightedChoice implements RouteChoice {
  readonly route: HttpRoute;
  readonly rule: HttpRouteRule;
  readonly name: string;
  readonly #total: number;

  constructor(route: HttpRoute, rule: HttpRouteRule) {
    this.route = route;
    this.rule = rule;
    this.name = routeName(route, rule);
    this.#total = totalWeight(rule);
  }

  chooseBackend(draw: number): HttpBackend | undefined {
    const { backends } = this.rule;
    let left = draw * this.#total;
    for (let i = 0; i < backends.length; i++) {
      left -= backends[i]!.weight;
      if (left < 0) return backends[i];
    }
    return undefined;
  }
}

/** To the service that was addressed; `undefined` for a workload, which has no backend. */
export class DefaultChoice implements RouteChoice {
  readonly route = undefined;
  readonly rule = undefined;
  readonly name = "default";
  readonly #backend: HttpBackend | undefined;

  constructor(backend: HttpBackend | undefined) {
    this.#backend = backend;
  }

  chooseBackend(_draw: number): HttpBackend | undefined {
    return this.#backend;
  }
}

interface NamedMatcher {
  readonly name: string;
  readonly value: ValueMatcher;
}

/** A match of a rule, without its path. */
class CompiledCandidate {
  readonly choice: RouteChoice;
  readonly #method: string | undefined;
  readonly #headers: readonly NamedMatcher[];
  readonly #query: readonly NamedMatcher[];

  constructor(candidate: RouteCandidate, choice: RouteChoice) {
    this.choice = choice;
    this.#method = candidate.match.method;
    this.#headers = candidate.match.headers.map(compileValue);
    this.#query = candidate.match.queryParams.map(compileValue);
  }

  matches(facts: HttpFacts): boolean {
    if (this.#method !== undefined && facts.method !== this.#method) return false;
    for (let i = 0; i < this.#headers.length; i++) {
      const { name, value } = this.#headers[i]!;
      const seen = facts.header(name);
      if (seen === undefined || !value.matches(seen)) return false;
    }
    for (let i = 0; i < this.#query.length; i++) {
      const { name, value } = this.#query[i]!;
      const seen = queryParameter(facts.query, name);
      if (seen === undefined || !value.matches(seen)) return false;
    }
    return true;
  }
}

function compileValue(match: ValueMatch): NamedMatcher {
  return { name: match.name, value: compilePattern(match.type, match.value) };
}

function compilePattern(type: "Exact" | "RegularExpression", value: string): ValueMatcher {
  const literal = new LiteralMatcher(value);
  // candidatesOf() has dropped the rules whose expressions do not compile.
  return type === "Exact" ? literal : (compileRegex(value) ?? literal);
}

function firstOf(
  candidates: readonly CompiledCandidate[],
  facts: HttpFacts,
): RouteChoice | undefined {
  for (let i = 0; i < candidates.length; i++) {
    const candidate = candidates[i]!;
    if (candidate.matches(facts)) return candidate.choice;
  }
  return undefined;
}

/** The candidates of one prefix, and the next shorter one that matches whenever this one does. */
class PrefixGroup {
  readonly candidates: CompiledCandidate[] = [];
  readonly outer: PrefixGroup | undefined;

  constructor(outer: PrefixGroup | undefined) {
    this.outer = outer;
  }
}

/** A node of the radix tree: `label` is what it adds to its parent's text. */
class PrefixNode {
  label: string;
  group: PrefixGroup | undefined;
  /** By the first character code of their labels. */
  readonly children = new Map<number, PrefixNode>();

  constructor(label: string, group: PrefixGroup | undefined) {
    this.label = label;
    this.group = group;
  }

  insert(text: string, group: PrefixGroup): void {
    if (text === "") {
      this.group = group;
      return;
    }
    const child = this.children.get(text.charCodeAt(0));
    if (child === undefined) {
      this.children.set(text.charCodeAt(0), new PrefixNode(text, group));
      return;
    }
    let common = 1;
    while (common < child.label.length && child.label[common] === text[common]) common++;
    if (common === child.label.length) {
      child.insert(text.slice(common), group);
      return;
    }
    const fork = new PrefixNode(child.label.slice(0, common), undefined);
    child.label = child.label.slice(common);
    fork.children.set(child.label.charCodeAt(0), child);
    this.children.set(text.charCodeAt(0), fork);
    fork.insert(text.slice(common), group);
  }
}

class PrefixTree {
  readonly #root = new PrefixNode("", undefined);
  readonly #groups = new Map<string, PrefixGroup>();

  /** Shorter prefixes must come before longer ones. */
  groupOf(prefix: string): PrefixGroup {
    const known = this.#groups.get(prefix);
    if (known) return known;
    const group = new PrefixGroup(this.#outerOf(prefix));
    this.#groups.set(prefix, group);
    this.#root.insert(prefix, group);
    return group;
  }

  #outerOf(prefix: string): PrefixGroup | undefined {
    let end = prefix.lastIndexOf("/");
    while (end >= 0) {
      const group = this.#groups.get(prefix.slice(0, end));
      if (group) return group;
      end = end === 0 ? -1 : prefix.lastIndexOf("/", end - 1);
    }
    return undefined;
  }

  /** The group of the longest prefix that ends where an element of the path does. */
  find(path: string): PrefixGroup | undefined {
    let node = this.#root;
    let position = 0;
    let found: PrefixGroup | undefined;
    for (;;) {
      if (node.group && (position === path.length || path.charCodeAt(position) === SLASH)) {
        found = node.group;
      }
      const child = node.children.get(path.charCodeAt(position));
      if (child === undefined || !path.startsWith(child.label, position)) return found;
      position += child.label.length;
      node = child;
    }
  }
}

const SLASH = 0x2f;

/** All candidates of one host name, or of a service. */
class RouteTable {
  readonly #exact = new Map<string, CompiledCandidate[]>();
  readonly #prefixes = new PrefixTree();
  readonly #expressions: { path: ValueMatcher; candidate: CompiledCandidate }[] = [];

  constructor(routes: readonly HttpRoute[], choices: Choices) {
    const candidates = routes.flatMap(candidatesOf).sort(compareCandidates);
    const prefixes = candidates.filter(({ match }) => match.path.type === "PathPrefix");
    const texts = prefixes.map(({ match }) => prefixOf(match.path));
    for (const text of texts.sort((a, b) => a.length - b.length)) this.#prefixes.groupOf(text);
    for (const candidate of candidates) {
      this.#add(candidate, new CompiledCandidate(candidate, choices.of(candidate)));
    }
  }

  #add({ match }: RouteCandidate, candidate: CompiledCandidate): void {
    const { type, value } = match.path;
    if (type === "PathPrefix") {
      this.#prefixes.groupOf(prefixOf(match.path)).candidates.push(candidate);
    } else if (type === "Exact") {
      const same = this.#exact.get(value);
      if (same) same.push(candidate);
      else this.#exact.set(value, [candidate]);
    } else {
      this.#expressions.push({ path: compilePattern(type, value), candidate });
    }
  }

  choose(facts: HttpFacts): RouteChoice | undefined {
    const exact = this.#exact.get(facts.path);
    const choice = exact && firstOf(exact, facts);
    if (choice) return choice;
    let group = this.#prefixes.find(facts.path);
    while (group) {
      const found = firstOf(group.candidates, facts);
      if (found) return found;
      group = group.outer;
    }
    for (let i = 0; i < this.#expressions.length; i++) {
      const { path, candidate } = this.#expressions[i]!;
      if (path.matches(facts.path) && candidate.matches(facts)) return candidate.choice;
    }
    return undefined;
  }
}

/** One choice for each rule, shared by its matches and host names. */
class Choices {
  readonly #byRule = new Map<HttpRouteRule, RouteChoice>();

  of({ route, rule }: RouteCandidate): RouteChoice {
    const known = this.#byRule.get(rule);
    if (known) return known;
    const choice = new WeightedChoice(route, rule);
    this.#byRule.set(rule, choice);
    return choice;
  }
}

/** What a request follows on one port. */
export interface RoutePlan {
  /** `fallback` when no route is there for it; `undefined` when none matches (404). */
  choose(facts: HttpFacts, fallback: RouteChoice): RouteChoice | undefined;
}

export const NO_ROUTE_PLAN: RoutePlan = { choose: (_facts, fallback) => fallback };

/** Routes of the Service itself; their host names are ignored (GEP-1294). */
export class ServiceRoutePlan implements RoutePlan {
  readonly #table: RouteTable;

  constructor(routes: readonly AttachedRoute<HttpRoute>[]) {
    this.#table = new RouteTable(
      routes.map((attached) => attached.route),
      new Choices(),
    );
  }

  choose(facts: HttpFacts, _fallback: RouteChoice): RouteChoice | undefined {
    return this.#table.choose(facts);
  }
}

/**
 * Routes of the whole waypoint: by host name, the exact one first, then wildcards from the longest,
 * then routes without any. A host that none of them names is not their business.
 */
export class GatewayRoutePlan implements RoutePlan {
  readonly #tables = new Map<string, RouteTable>();

  constructor(routes: readonly AttachedRoute<HttpRoute>[]) {
    const byHostname = new Map<string, HttpRoute[]>();
    for (const { route } of routes) {
      for (const hostname of new Set(route.hostnames.length > 0 ? route.hostnames : ["*"])) {
        const same = byHostname.get(hostname);
        if (same) same.push(route);
        else byHostname.set(hostname, [route]);
      }
    }
    const choices = new Choices();
    for (const [hostname, same] of byHostname) {
      this.#tables.set(hostname, new RouteTable(same, choices));
    }
  }

  choose(facts: HttpFacts, fallback: RouteChoice): RouteChoice | undefined {
    const names = matchingHostnames.get(authorities.get(facts.authority).hostname);
    let isNamed = false;
    for (let i = 0; i < names.length; i++) {
      const table = this.#tables.get(names[i]!);
      if (table === undefined) continue;
      const choice = table.choose(facts);
      if (choice) return choice;
      isNamed = true;
    }
    return isNamed ? undefined : fallback;
  }
}
