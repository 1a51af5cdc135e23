/**
 * The mesh's settings, as a collection of one value: the defaults, as the ConfigMaps `istio` and
 * `waystone` of the root namespace change them, in this order.
 */
import type { ConfigMap } from "../../api/core.ts";
import type { MeshSettings } from "../../model/settings.ts";
import { Findings, type ObjectStatus } from "../../translate/findings.ts";
import { MESH_CONFIG, OWN_CONFIG, readSettings } from "../../translate/mesh-settings.ts";
import type { Collection } from "./collection.ts";
import type { Graph } from "./graph.ts";
import { always, type Sources } from "./mesh-foundations.ts";
import { ONLY } from "./mesh-reads.ts";

export interface SettingsCollections {
  readonly settings: Collection<MeshSettings>;
  readonly statuses: Collection<ObjectStatus>;
}

export function meshSettings(
  sources: Sources,
  graph: Graph,
  defaults: MeshSettings,
): SettingsCollections {
  const configMaps = sources.of<ConfigMap>("ConfigMap");
  // The namespace in which to look cannot come from what is found there.
  const keys = [MESH_CONFIG, OWN_CONFIG].map(({ name }) => `${defaults.rootNamespace}/${name}`);
  const translated = graph.derive("readSettings", always(graph), (context) => {
    let settings = defaults;
    const statuses: [string, ObjectStatus][] = [];
    for (const key of keys) {
      const configMap = context.fetch(configMaps, key);
      if (configMap === undefined) continue;
      const findings = new Findings(configMap);
      settings = readSettings(settings, configMap, findings);
      const status = findings.status();
      if (status !== undefined) statuses.push([`ConfigMap/${key}`, status]);
    }
    return [[ONLY, { settings, statuses }]];
  });
  return {
    settings: graph.select("settings", translated, ({ settings }) => settings),
    statuses: graph.derive("settings status", translated, (_context, { statuses }) => statuses),
  };
}
