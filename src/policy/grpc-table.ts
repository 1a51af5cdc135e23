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

interface ExpressionEntry {
  /** undefined: any. */
  readonly service: ValueMatcher | undefined;
  readonly method: ValueMatcher | undefined;
  readonly candidate: CompiledCandidate;
}

export class GrpcTable {
  /** By `/<service>/<method>`, by `/<service>`, by `/<method>`. */
  readonly #whole = new Map<string, CompiledCandidate[]>();
  readonly #services = new Map<string, CompiledCandidate[]>();
  readonly #methods = new Map<string, CompiledCandidate[]>();
  readonly #any: CompiledCandidate[] = [];
  readonly #expressions: ExpressionEntry[] = [];

  add({ match }: RouteCandidate, candidate: CompiledCandidate): void {
    const { type = "Exact", service = "", method = "" } = match.grpc ?? {};
    if (service === "" && method === "") this.#any.push(candidate);
    else if (type === "RegularExpression") {
      const element = (text: string) => (text === "" ? undefined : compilePattern(type, text));
      this.#expressions.push({ service: element(service), method: element(method), candidate });
    } else if (service === "") addTo(this.#methods, `/${method}`, candidate);
    else if (method === "") addTo(this.#services, `/${service}`, candidate);
    else addTo(this.#whole, `/${service}/${method}`, candidate);
  }

  choose(facts: HttpFacts): RouteChoice | undefined {
    const { path } = facts;
    const slash = path.indexOf("/", 1);
    let best = better(undefined, this.#whole.get(path), facts);
    best = better(best, this.#any, facts);
    // A service and a method, and nothing behind them.
    const isMethod = slash > 1 && slash < path.length - 1 && path.indexOf("/", slash + 1) < 0;
    if (!isMethod) return best?.choice;
    best = better(best, this.#services.get(path.slice(0, slash)), facts);
    best = better(best, this.#methods.get(path.slice(slash)), facts);
    if (this.#expressions.length === 0) return best?.choice;
    return this.#expression(path.slice(1, slash), path.slice(slash + 1), best, facts)?.choice;
  }

  #expression(
    service: string,
    method: string,
    best: CompiledCandidate | undefined,
    facts: HttpFacts,
  ): CompiledCandidate | undefined {
    for (let i = 0; i < this.#expressions.length; i++) {
      const wanted = this.#expressions[i]!;
      if (best !== undefined && best.rank < wanted.candidate.rank) return best;
      if (wanted.service?.matches(service) === false) continue;
      if (wanted.method?.matches(method) === false) continue;
      if (wanted.candidate.matches(facts)) return wanted.candidate;
    }
    return best;
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
