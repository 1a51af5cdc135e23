/** Weighted choices: not which backend, but how often each. */
import type { Outcome } from "./clients.ts";
import { clusterOf } from "./envoy-routes.ts";
import type { Table } from "./tables.ts";

/** How often, and what a fair draw would come to. */
export interface Drawn {
  readonly drawn: number;
  readonly expected: number;
  readonly variance: number;
}

export class Draws {
  /** By name of the backend; "nowhere" answers 500. Empty where nothing is drawn. */
  readonly #shares = new Map<string, number>();
  readonly #counts = new Map<string, number>();
  #requests = 0;

  constructor({ feature, routes }: Table) {
    const backends = routes[0]!.rules[0]!.backends.filter(({ weight }) => weight > 0);
    if (feature !== "weights" || backends.length < 2) return;
    const total = backends.reduce((sum, { weight }) => sum + weight, 0);
    for (const { service, weight } of backends) {
      this.#shares.set(clusterOf(service), weight / total);
    }
  }

  /** The outcome as it is compared. */
  note(side: string, outcome: Outcome): Outcome {
    const name = outcome.seen?.backend ?? "nowhere";
    if (!this.#shares.has(name)) return outcome;
    const key = `${side} ${name}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    if (side === "envoy") this.#requests++;
    return { ...outcome, status: 200, seen: undefined };
  }

  addTo(all: Map<string, Drawn>): void {
    for (const side of ["waystone", "envoy"]) {
      for (const [name, share] of this.#shares) {
        const key = `${side} ${name}`;
        const before = all.get(key) ?? { drawn: 0, expected: 0, variance: 0 };
        all.set(key, {
          drawn: before.drawn + (this.#counts.get(key) ?? 0),
          expected: before.expected + this.#requests * share,
          variance: before.variance + this.#requests * share * (1 - share),
        });
      }
    }
  }
}
