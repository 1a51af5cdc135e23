/**
 * A short text for all of a snapshot that a decision at one hop may depend on. While it is the same
 * the decision is, so nothing has to be asked again; the text of RequestAuthentications alone says
 * whether tokens would be judged anew.
 *
 * Keys that are fetched count by where they come from: fetched anew they mean the same.
 */
import type { RequestAuthentication } from "../../model/request-authentication.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import { routeSets } from "../../policy/applied-routes.ts";
import { httpDecider, l4Decider } from "../../policy/decider.ts";
import type { Hop } from "../../policy/facts.ts";
import { authenticationsFor, l4PoliciesFor, policiesFor } from "../../policy/policy-sets.ts";
import { digest } from "./outcome.ts";

export interface ConfigurationDigest {
  /** Everything; empty when the target is not in the snapshot. */
  readonly whole: string;
  /** RequestAuthentications. */
  readonly tokens: string;
}

const UNKNOWN: ConfigurationDigest = { whole: "", tokens: "" };
/** By decider: that is the same object while what it was made from is. */
const known = new WeakMap<object, ConfigurationDigest>();

export function configurationDigest(snapshot: Snapshot, hop: Hop): ConfigurationDigest {
  const owner =
    "service" in hop ? snapshot.services.get(hop.service) : snapshot.workloads.get(hop.workload);
  if (owner === undefined) return UNKNOWN;
  const decider =
    hop.proxy === "waypoint"
      ? httpDecider(snapshot, hop.waypoint, hop, hop.port)
      : l4Decider(snapshot, snapshot.workloads.get(hop.workload)!);
  const before = known.get(decider);
  if (before !== undefined) return before;
  const made = hop.proxy === "waypoint" ? atWaypoint(snapshot, hop) : atZtunnel(snapshot, hop);
  known.set(decider, made);
  return made;
}

function atWaypoint(
  snapshot: Snapshot,
  hop: Extract<Hop, { proxy: "waypoint" }>,
): ConfigurationDigest {
  const service = "service" in hop ? snapshot.services.get(hop.service) : undefined;
  const authentications = authenticationsFor(snapshot, hop.waypoint, service?.key);
  const tokens = digest(authentications.map((set) => set.map(withoutFetchedKeys)));
  const whole = digest({
    tokens,
    settings: snapshot.settings,
    policies: policiesFor(snapshot, hop.waypoint, service?.key),
    routes: routeSets(snapshot, hop.waypoint, service?.key ?? ""),
    binding: service?.waypoint,
    ports: service?.ports.map(({ port, protocol }) => [port, protocol]),
  });
  return { whole, tokens };
}

function withoutFetchedKeys({ rules }: RequestAuthentication): unknown {
  return rules.map((rule) => (rule.keysFrom === undefined ? rule : { ...rule, jwks: undefined }));
}

function atZtunnel(
  snapshot: Snapshot,
  { workload }: Extract<Hop, { proxy: "ztunnel" }>,
): ConfigurationDigest {
  const policies = l4PoliciesFor(snapshot, snapshot.workloads.get(workload)!);
  return { whole: digest(policies), tokens: "" };
}
