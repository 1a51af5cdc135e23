/**
 * The names of the mesh: what a client in a namespace means by a host name.
 *
 * As the DNS of Kubernetes and Istio's DNS proxy have it: `name` and `name.ns` and `name.ns.svc`
 * are short for `name.ns.svc.<cluster domain>`; hosts of ServiceEntries stand for themselves. Of
 * several services with one hostname the client's namespace is preferred, then canonical ones.
 */
import type { Service } from "../model/service.ts";
import type { Index, Snapshot } from "../model/snapshot.ts";

/** Made on first use for each version of the services. */
const byHostname = new WeakMap<Index<Service>, Map<string, Service[]>>();

export function resolveName(
  snapshot: Snapshot,
  clientNamespace: string,
  name: string,
): Service | undefined {
  const host = name.toLowerCase().replace(/\.$/, "");
  const hostnames = hostnamesOf(snapshot.services);
  for (const candidate of candidates(host, clientNamespace, snapshot.settings.clusterDomain)) {
    const services = hostnames.get(candidate);
    if (services === undefined) continue;
    return (
      services.find((s) => s.namespace === clientNamespace) ??
      services.find((s) => s.canonical) ??
      services[0]
    );
  }
  return undefined;
}

function candidates(host: string, namespace: string, domain: string): string[] {
  const labels = host.split(".");
  const svc = `svc.${domain}`;
  if (labels.length === 1) return [`${host}.${namespace}.${svc}`, host];
  if (labels.length === 2) return [`${host}.${svc}`, host];
  if (labels.length === 3 && labels[2] === "svc") return [`${host}.${domain}`, host];
  return [host];
}

function hostnamesOf(services: Index<Service>): Map<string, Service[]> {
  let known = byHostname.get(services);
  if (known === undefined) {
    known = new Map();
    for (const service of services.values()) {
      const list = known.get(service.hostname);
      if (list === undefined) known.set(service.hostname, [service]);
      else list.push(service);
    }
    byHostname.set(services, known);
  }
  return known;
}
