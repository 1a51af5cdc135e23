/**
 * GRPCRoutes compiled. Their order (Gateway API, GRPCRoute `matches`) goes by how much of a service
 * and of a method a match names, not by the kind of path, so each way of looking has its list and
 * the best of what they find wins.
 */

import { addTo, type CompiledCandidate, compilePattern, firstOf } from "./compiled-candidate.ts";
import type { HttpFacts } from "./facts.ts";
import type { ValueMatcher } from "./match/regex.ts";
import type { RouteCandidate } from "./route-order.ts";
import type { RouteChoice } from "./verdict.ts";

export class GrpcTable {
  /** By `/<service>/<method>`, by `/<service>`, by `/<method>`. */
  readonly #whole = new Map<string, CompiledCandidate[]>();
  readonly #services = new Map<string, CompiledCandidate[]>();
  readonly #methods = new Map<string, CompiledCandidate[]>();
  readonly #any: CompiledCandidate[] = [];
  readonly #expressions: { path: ValueMatcher; candidate: CompiledCandidate }[] = [];

  add({ match }: RouteCandidate, candidate: CompiledCandidate): void {
    const { type = "Exact", service = "", method = "" } = match.grpc ?? {};
    if (service === "" && method === "") this.#any.push(candidate);
    else if (type === "RegularExpression") {
      const path = compilePattern(type, match.path.value);
      this.#expressions.push({ path, candidate });
    } else if (service === "") addTo(this.#methods, `/${method}`, candidate);
    else if (method === "") addTo(this.#services, `/${service}`, candidate);
    else addTo(this.#whole, `/${service}/${method}`, candidate);
  }

  choose(facts: HttpFacts): RouteChoice | undefined {
    const { path } = facts;
    const slash = path.indexOf("/", 1);
    let best = better(undefined, this.#whole.get(path), facts);
    if (slash > 0) {
      best = better(best, this.#services.get(path.slice(0, slash)), facts);
      best = better(best, this.#methods.get(path.slice(slash)), facts);
    }
    best = better(best, this.#any, facts);
    for (let i = 0; i < this.#expressions.length; i++) {
      const { path: wanted, candidate } = this.#expressions[i]!;
      if (best !== undefined && best.rank < candidate.rank) break;
      if (!wanted.matches(path) || !candidate.matches(facts)) continue;
      best = candidate;
      break;
    }
    return best?.choice;
  }
}

function better(
  best: CompiledCandidate | undefined,
  list: readonly CompiledCandidate[] | undefined,
  facts: HttpFacts,
): CompiledCandidate | undefined {
  const found = list && firstOf(list, facts);
  if (found === undefined || (best !== undefined && best.rank < found.rank)) return best;
  return found;
}
