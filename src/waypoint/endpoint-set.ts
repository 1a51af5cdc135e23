/**
 * Endpoints that requests are spread over: least request of two random ones, as Envoy's default.
 *
 * Where capacities differ (a WorkloadEntry's `weight`), the two are drawn by them, and load counts
 * in proportion. Choosing costs the same among two endpoints and among five thousand; only a
 * request that has failed before may look at all of them.
 */
import { AliasTable } from "../kit/alias-table.ts";
import type { UpstreamEndpoint } from "./cluster.ts";

/** How many pairs are drawn, at most, to find one that was not tried before (Envoy's 5). */
const HOST_SELECTION_ATTEMPTS_MAX = 5;

export class EndpointSet {
  readonly #endpoints: readonly UpstreamEndpoint[];
  /** undefined: all have the same capacity. */
  readonly #weights: AliasTable | undefined;

  constructor(endpoints: readonly UpstreamEndpoint[]) {
    const able = endpoints.every(({ capacity }) => capacity > 0)
      ? endpoints
      : endpoints.filter(({ capacity }) => capacity > 0);
    const isEven = able.every(({ capacity }) => capacity === able[0]!.capacity);
    this.#endpoints = able;
    this.#weights = isEven ? undefined : new AliasTable(able.map(({ capacity }) => capacity));
  }

  /** `tried` are avoided as long as there are others. */
  pick(tried: readonly UpstreamEndpoint[]): UpstreamEndpoint | undefined {
    const endpoints = this.#endpoints;
    if (endpoints.length <= 1) return endpoints[0];
    let choice: UpstreamEndpoint | undefined;
    for (let i = 0; i < HOST_SELECTION_ATTEMPTS_MAX; i++) {
      const one = this.#draw();
      const other = this.#draw();
      choice = other.active * one.capacity < one.active * other.capacity ? other : one;
      if (tried.length === 0 || !tried.includes(choice)) return choice;
    }
    return endpoints.find((endpoint) => !tried.includes(endpoint)) ?? choice;
  }

  #draw(): UpstreamEndpoint {
    const endpoints = this.#endpoints;
    const at = Math.random();
    return endpoints[this.#weights?.draw(at) ?? (at * endpoints.length) | 0]!;
  }
}
