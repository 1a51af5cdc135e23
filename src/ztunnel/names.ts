/**
 * The names of the mesh: what a client in a namespace means by a host name.
 *
 * As the DNS of Kubernetes and Istio's DNS proxy have it: `name` and `name.ns` and `name.ns.svc`
 * are short for `name.ns.svc.<cluster domain>`; hosts of ServiceEntries stand for themselves, and
 * `*.example.com` for all names under it. A resolver appends its search domains before it asks
 * (ndots 5), so a name that is known without one of them is known with it. Of several services with
 * one hostname the client's namespace is preferred, then canonical ones.
 */
import type { Service } from "../model/service.ts";
import type { Index, Snapshot } from "../model/snapshot.ts";

export interface KnownName {
  readonly service: Service;
  /** What was asked for is this name with a search domain behind it. */
  readonly canonicalName: string | undefined;
}

/** Made on first use for each version of the services. */
const byHostname = new WeakMap<Index<Service>, Map<string, Service[]>>();

/** `clientNamespace` undefined: the client is not of the mesh, and no short name means anything. */
export function lookUpName(
  snapshot: Snapshot,
  clientNamespace: string | undefined,
  name: string,
): KnownName | undefined {
  const host = name.toLowerCase().replace(/\.$/, "");
  const service = serviceNamed(snapshot, clientNamespace, host);
  if (service !== undefined) return { service, canonicalName: undefined };
  if (clientNamespace === undefined) return undefined;
  const { clusterDomain } = snapshot.settings;
  const searched = [
    `${clientNamespace}.svc.${clusterDomain}`,
    `svc.${clusterDomain}`,
    clusterDomain,
  ];
  for (const domain of searched) {
    if (!host.endsWith(`.${domain}`)) continue;
    const stripped = host.slice(0, -domain.length - 1);
    const meant = serviceNamed(snapshot, clientNamespace, stripped);
    if (meant === undefined) continue;
    const canonicalName = meant.hostname.startsWith("*.") ? stripped : meant.hostname;
    return { service: meant, canonicalName };
  }
  return undefined;
}

export function resolveName(
  snapshot: Snapshot,
  clientNamespace: string,
  name: string,
): Service | undefined {
  return lookUpName(snapshot, clientNamespace, name)?.service;
}

function serviceNamed(
  snapshot: Snapshot,
  namespace: string | undefined,
  host: string,
): Service | undefined {
  const hostnames = hostnamesOf(snapshot.services);
  const { clusterDomain } = snapshot.settings;
  for (const candidate of candidates(host, namespace, clusterDomain)) {
    const services = hostnames.get(candidate);
    if (services !== undefined) return preferred(services, namespace);
  }
  for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) {
    const services = hostnames.get(`*${host.slice(dot)}`);
    if (services !== undefined) return preferred(services, namespace);
  }
  return undefined;
}

function preferred(services: readonly Service[], namespace: string | undefined): Service {
  return (
    services.find((s) => s.namespace === namespace) ??
    services.find((s) => s.canonical) ??
    services[0]!
  );
}

function candidates(host: string, namespace: string | undefined, domain: string): string[] {
  if (namespace === undefined) return [host];
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
      const hostname = service.hostname.toLowerCase();
      const list = known.get(hostname);
      if (list === undefined) known.set(hostname, [service]);
      else list.push(service);
    }
    byHostname.set(services, known);
  }
  return known;
}
