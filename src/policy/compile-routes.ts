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
import type { AttachedRoute, HttpBackend, HttpRoute, HttpRouteRule } from "../model/route.ts";
import { addTo, CompiledCandidate, compilePattern, firstOf } from "./compiled-candidate.ts";
import type { HttpFacts } from "./facts.ts";
import { GrpcTable } from "./grpc-table.ts";
import { authorities, matchingHostnames } from "./match/host.ts";
import type { ValueMatcher } from "./match/regex.ts";
import { PrefixTree } from "./prefix-tree.ts";
import {
  candidatesOf,
  compareCandidates,
  drawBackend,
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
    return drawBackend(this.rule.backends, this.#total, draw);
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

/** The candidates of one prefix, and the next shorter one that matches whenever this one does. */
class PrefixGroup {
  readonly candidates: CompiledCandidate[] = [];
  readonly outer: PrefixGroup | undefined;

  constructor(outer: PrefixGroup | undefined) {
    this.outer = outer;
  }
}

/** Each prefix with the next shorter one that matches whenever it does. */
class PrefixGroups {
  readonly #tree = new PrefixTree<PrefixGroup>();
  readonly #groups = new Map<string, PrefixGroup>();

  /** Shorter prefixes must come before longer ones. */
  groupOf(prefix: string): PrefixGroup {
    const known = this.#groups.get(prefix);
    if (known) return known;
    const group = new PrefixGroup(this.#outerOf(prefix));
    this.#groups.set(prefix, group);
    this.#tree.insert(prefix, group);
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

  /** The group of the longest prefix of the path. */
  find(path: string): PrefixGroup | undefined {
    return this.#tree.find(path);
  }
}

/** All candidates of one host name, or of a service. */
interface RouteTable {
  choose(facts: HttpFacts): RouteChoice | undefined;
}

function tableOf(routes: readonly HttpRoute[], choices: Choices): RouteTable {
  // Routes of one port are all of one kind (applied-routes.ts).
  const isGrpc = routes[0]?.kind === "GRPCRoute";
  const candidates = routes.flatMap(candidatesOf).sort(compareCandidates);
  const table = isGrpc ? new GrpcTable() : new HttpTable(candidates);
  candidates.forEach((candidate, rank) => {
    table.add(candidate, new CompiledCandidate(candidate, choices.of(candidate), rank));
  });
  return table;
}

class HttpTable implements RouteTable {
  readonly #exact = new Map<string, CompiledCandidate[]>();
  readonly #prefixes = new PrefixGroups();
  readonly #expressions: { path: ValueMatcher; candidate: CompiledCandidate }[] = [];

  constructor(candidates: readonly RouteCandidate[]) {
    const prefixes = candidates.filter(({ match }) => match.path.type === "PathPrefix");
    const texts = prefixes.map(({ match }) => prefixOf(match.path));
    for (const text of texts.sort((a, b) => a.length - b.length)) this.#prefixes.groupOf(text);
  }

  add({ match }: RouteCandidate, candidate: CompiledCandidate): void {
    const { type, value } = match.path;
    if (type === "PathPrefix") {
      this.#prefixes.groupOf(prefixOf(match.path)).candidates.push(candidate);
    } else if (type === "Exact") {
      addTo(this.#exact, value, candidate);
    } else {
      this.#expressions.push({ path: compilePattern(type, value), candidate });
    }
  }

  choose(facts: HttpFacts): RouteChoice | undefined {
    const exact = this.#exact.get(facts.path);
    const found = exact && firstOf(exact, facts);
    if (found) return found.choice;
    let group = this.#prefixes.find(facts.path);
    while (group) {
      const inGroup = firstOf(group.candidates, facts);
      if (inGroup) return inGroup.choice;
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
    this.#table = tableOf(
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
      this.#tables.set(hostname, tableOf(same, choices));
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
