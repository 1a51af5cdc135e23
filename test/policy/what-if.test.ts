/**
 * Recorded requests, decided again: under the same configuration nothing changes, and under another
 * one what `decide()` says of the request itself, or that it cannot be said.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { judge } from "../../src/agent/replay/judge.ts";
import { isSameOutcome, outcomeOf } from "../../src/agent/replay/outcome.ts";
import {
  type RecordedRequest,
  readRecordedRequest,
  recordedRequest,
} from "../../src/agent/replay/recorded-request.ts";
import { whatIf } from "../../src/agent/replay/what-if.ts";
import type { AttachedRoute } from "../../src/model/route.ts";
import type { AuthorizationPolicy } from "../../src/model/rule.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import { decide } from "../../src/policy/decide.ts";
import type { HttpFacts } from "../../src/policy/facts.ts";
import { attachedRoutes, policies, requests, SETTINGS } from "./arbitraries.ts";
import { HTTP_HOP, SERVICE, SERVICE_VALUE, snapshotOf, WAYPOINT } from "./mesh.ts";

const RUNS = 1_500;

function meshOf(all: readonly AuthorizationPolicy[], routes: readonly AttachedRoute[]): Snapshot {
  const waypoint = {
    state: "bound",
    waypoint: WAYPOINT,
    service: "default/waypoint.default.svc.cluster.local",
    hbonePort: 15008,
  } as const;
  return snapshotOf({
    services: [{ ...SERVICE_VALUE, waypoint }],
    policies: { [`Service/${SERVICE}`]: all },
    routes: { [`Service/${SERVICE}`]: routes },
    settings: SETTINGS,
  });
}

/** As a waypoint would have written it down, through a file. */
function recorded(snapshot: Snapshot, facts: HttpFacts, draw: number): RecordedRequest {
  const { header, serverName: _, ...rest } = facts;
  const names = ["x-user", "x-version"];
  const headers = names.flatMap((name) => {
    const value = header(name);
    return value === undefined ? [] : [name, value];
  });
  const decision = decide(snapshot, HTTP_HOP, facts, draw);
  const request = recordedRequest({
    id: "1",
    proxy: "waypoint",
    target: SERVICE,
    atMs: 0,
    facts: { ...rest, headers },
    revision: 1,
    snapshot,
    payload: {
      hop: HTTP_HOP,
      draw,
      ...(decision.backend !== undefined && { isDrawn: true }),
      status: 200,
      flags: "-",
      servedBy: "",
    },
  });
  return readRecordedRequest(JSON.parse(JSON.stringify(request)));
}

const configurations = fc.record({ all: policies, routes: attachedRoutes });
const asked = fc.array(
  fc.record({ facts: requests, draw: fc.double({ min: 0, max: 0.99, noNaN: true }) }),
  {
    minLength: 6,
    maxLength: 6,
  },
);

test("what-if with the same configuration changes nothing", { timeout: 120_000 }, () => {
  let decidedAnew = 0;
  fc.assert(
    fc.property(configurations, asked, ({ all, routes }, many) => {
      const log = many.map(({ facts, draw }) => recorded(meshOf(all, routes), facts, draw));
      const again = meshOf(structuredClone(all), structuredClone(routes));
      const report = whatIf(again, log);
      expect(report).toMatchObject({ unchanged: log.length, changes: [], cannotSay: [] });
      for (const request of log) {
        // Without the short cut, too.
        const { outcome, cannotSay = "" } = judge(again, request, false);
        if (outcome === undefined) expect(cannotSay).toContain("its answer is not recorded");
        else {
          decidedAnew++;
          expect(isSameOutcome(outcome, request.outcome!)).toBe(true);
          expect(outcome).toEqual(request.outcome);
        }
      }
    }),
    { numRuns: RUNS },
  );
  expect(decidedAnew).toBeGreaterThan(RUNS * 4);
});

test("what-if with another one says what decide() says", { timeout: 120_000 }, () => {
  let changes = 0;
  fc.assert(
    fc.property(configurations, configurations, asked, (before, after, many) => {
      const now = meshOf(after.all, after.routes);
      for (const { facts, draw } of many) {
        const request = recorded(meshOf(before.all, before.routes), facts, draw);
        const { outcome, cannotSay = "" } = judge(now, request);
        if (outcome === undefined) {
          expect(cannotSay).toContain("its answer is not recorded");
          continue;
        }
        const { serverName: _, ...same } = facts;
        const isDrawn = request.draw !== undefined;
        const decision = decide(now, HTTP_HOP, same, request.draw ?? 0);
        expect(isSameOutcome(outcome, outcomeOf(decision, HTTP_HOP, isDrawn))).toBe(true);
        if (!isSameOutcome(outcome, request.outcome!)) changes++;
      }
    }),
    { numRuns: RUNS },
  );
  expect(changes).toBeGreaterThan(RUNS);
});
