/** All that a Snapshot says but its number, as a hash: two that are equal say the same. */
import { createHash } from "node:crypto";

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
