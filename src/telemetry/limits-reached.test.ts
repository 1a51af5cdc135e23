import pino from "pino";
import { expect, test } from "vitest";
import { LimitsReached } from "./limits-reached.ts";
import { MetricRegistry } from "./metrics.ts";

test("each time is counted, and of each limit a few lines a second are written", () => {
  const registry = new MetricRegistry();
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line));
  const limits = new LimitsReached(registry, pino({ base: null, timestamp: false }, { write }));
  for (let i = 0; i < 9; i++) limits.reached("connections");
  limits.reached("dns_questions");
  expect(registry.expose()).toContain('waystone_limits_reached_total{limit="connections"} 9\n');
  expect(registry.expose()).toContain('waystone_limits_reached_total{limit="dns_questions"} 1\n');
  expect(lines).toHaveLength(6);
  expect(lines[0]).toEqual({ level: 40, limit: "connections", msg: "limit reached" });
});
