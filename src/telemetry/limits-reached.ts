/**
 * Limits that strangers can reach: counted, and told in the log, a few lines a second of each.
 * docs/reference/limits.md has them all, with those that other metrics tell of.
 */
import type { Logger } from "../kit/log.ts";
import { LogLimit } from "../kit/log-limit.ts";
import type { Counter, CounterFamily, MetricRegistry } from "./metrics.ts";

export const LIMITS = [
  "connections",
  "tunnels_to_target",
  "waiting_tunnels",
  "queued_answers",
  "unread_answer",
  "idle_connections",
  "dns_connections",
  "dns_questions",
  "control_plane_connections",
] as const;

type Limit = (typeof LIMITS)[number];

export function limitsReached(registry: MetricRegistry): CounterFamily {
  return registry.counter(
    "waystone_limits_reached_total",
    "Times that a limit was reached; limits.md says what each is, and what happens then.",
    ["limit"],
  );
}

export class LimitsReached {
  readonly #family: CounterFamily;
  readonly #log: Logger;
  readonly #logLimit: LogLimit;
  readonly #counters = new Map<Limit, Counter>();

  constructor(registry: MetricRegistry, logger: Logger) {
    this.#family = limitsReached(registry);
    this.#log = logger;
    this.#logLimit = new LogLimit({
      onLeftOut: (limit, count) => logger.warn({ limit, count }, "limit reached, more often"),
    });
  }

  reached(limit: Limit): void {
    let counter = this.#counters.get(limit);
    if (counter === undefined) {
      counter = this.#family.child([limit]);
      this.#counters.set(limit, counter);
    }
    counter.add(1);
    if (this.#logLimit.allows(limit)) this.#log.warn({ limit }, "limit reached");
  }
}
