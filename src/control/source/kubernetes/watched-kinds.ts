/**
 * Which kinds are read from an API server: all that the mesh acts on or says something about.
 *
 * What nothing reads is not asked for, so that it needs no permission and no memory. Secrets above
 * all: whoever may list them may read every credential of the cluster.
 */
import { KINDS, type Kind, type KindName } from "../../../api/kinds.ts";

/** Acted on only by the mesh of one machine, which has no controllers that make Pods of them. */
const LOCAL_KINDS: ReadonlySet<KindName> = new Set([
  "DaemonSet",
  "Deployment",
  "Job",
  "ServiceAccount",
  "StatefulSet",
]);

/** Of an experiment that most clusters do not have, and nothing acts on: judged in files alone. */
const EXPERIMENTS: ReadonlySet<KindName> = new Set(["XBackendTrafficPolicy"]);

/** Read in passing: Nodes say in which zone a Pod is. */
const READ_IN_PASSING: ReadonlySet<KindName> = new Set(["Node"]);

export const WATCHED_KINDS: readonly KindName[] = (Object.keys(KINDS) as KindName[]).filter(
  (name) => {
    const { use }: Kind = KINDS[name];
    if (use === "read") return READ_IN_PASSING.has(name);
    return !LOCAL_KINDS.has(name) && !EXPERIMENTS.has(name);
  },
);

/** ConfigMaps of the root namespace that hold the mesh's settings; others are not kept. */
export const SETTINGS_MAPS: ReadonlySet<string> = new Set(["istio", "waystone"]);

/**
 * True: nothing is served before the kind has been read. A route, policy or waypoint that is there
 * and not seen lets traffic pass that it would stop.
 */
export function isEssential(name: KindName): boolean {
  return KINDS[name].use === "acted";
}
