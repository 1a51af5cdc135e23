/**
 * What a proxy holds, as a hash: two that are equal hold the same. Of a Snapshot all that it says
 * but its number; of resources their versions, by type and name.
 */
import { createHash } from "node:crypto";
import { RESOURCE_TYPES } from "../../dist/wire/resource.js";

const INDEXES = [
  ...["services", "workloads", "endpoints", "addresses", "waypoints", "policies"],
  ...["authentications", "l4Policies", "l4PoliciesByNamespace", "routes"],
];

const byKey = ([a], [b]) => (a < b ? -1 : 1);

/** Maps as sorted pairs; fields sorted, and those without a value left out. */
function plain(_key, value) {
  if (value instanceof Map) return [...value].sort(byKey);
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(byKey));
}

export function contentsHash(snapshot) {
  const hash = createHash("sha256").update(JSON.stringify(snapshot.settings, plain));
  for (const name of INDEXES) {
    for (const [key, value] of [...snapshot[name].entries()].sort(byKey)) {
      hash.update(`${name} ${key} ${JSON.stringify(value, plain)}\n`);
    }
  }
  return hash.digest("hex");
}

export function versionsHash(byType) {
  const hash = createHash("sha256");
  for (const [type, versions] of [...byType].sort(byKey)) {
    // There is one, and its version is the state's number.
    if (type === RESOURCE_TYPES.revision) continue;
    for (const [name, version] of [...versions].sort(byKey)) {
      hash.update(`${type} ${name} ${version}\n`);
    }
  }
  return hash.digest("hex");
}
