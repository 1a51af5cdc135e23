/**
 * Istio's own routing tests for ambient mode against real proxies, in `compatibility: istio`: the
 * set ambient-routing.
 */
import { afterAll, describe } from "vitest";
import { conformancePath } from "../../support/conformance.ts";
import { isPatch, type RouteTest, readList } from "./cases.ts";
import { Greeters } from "./greeters.ts";
import { testSet } from "./run-set.ts";

const root = conformancePath("ambient-routing");
const greeters = Greeters.plain();
/** `tcp-server` and `auto-tcp-server` of the set's base. */
const SERVER_FIRST_PORTS = [16060, 16061];

/** DESIGN: later, not now. */
const LATER: ReadonlySet<string> = new Set(["VirtualService", "DestinationRule"]);

function skip({ resources }: RouteTest): string | undefined {
  const kinds = resources.flatMap((r) => (isPatch(r) ? [] : [r.kind])).filter((k) => LATER.has(k));
  return kinds.length > 0 ? "VirtualService and DestinationRule are no kinds of ours" : undefined;
}

describe.skipIf(root === undefined)("ambient-routing", async () => {
  if (root === undefined) return;
  const set = readList(root, "ambient-routing");
  const overrides = await greeters.start(set.base, SERVER_FIRST_PORTS);
  testSet(set, { isIstioCompatible: true, overrides, skip });
  afterAll(() => greeters.stop());
});
