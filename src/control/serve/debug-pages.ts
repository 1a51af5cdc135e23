/**
 * What a control plane tells of itself, by the names that istiod's users know: over XDS
 * (`istioctl x internal-debug`, protocols.md §7.2) and over HTTP on the monitoring port.
 *
 * Who asks sees what is of the namespaces it may see; settings are of the root namespace.
 */
import { plain } from "../../agent/config-dump.ts";
import { isBuiltIn, KINDS, type KindName } from "../../api/kinds.ts";
import type { KubeObject } from "../../api/object.ts";
import type { ResourceSource } from "../../wire/resource.ts";
import { RESOURCE_TYPES } from "../../wire/resource.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { AdsClientStatus } from "./ads-stream.ts";
import { type EnforcementReport, enforcementReport } from "./enforcement.ts";

export interface DebugClients {
  readonly clients: readonly AdsClientStatus[];
  /** What the client of that name is sent; undefined: it is not connected here. */
  sentTo(node: string): ResourceSource | undefined;
}

type Mesh = Pick<ControlPlane, "current" | "object" | "objects">;

/** Whether somebody may see what is of a namespace. */
export type Sees = (namespace: string) => boolean;

interface Page {
  readonly description: string;
  readonly value: (sees: Sees, query: URLSearchParams) => unknown;
}

export class DebugPages {
  readonly #control: Mesh;
  readonly #ads: DebugClients;
  readonly #pages: ReadonlyMap<string, Page>;

  constructor(control: Mesh, ads: DebugClients) {
    this.#control = control;
    this.#ads = ads;
    this.#pages = new Map(
      Object.entries<Page>({
        adsz: {
          description: "who is connected, and what was sent and acknowledged",
          value: (sees) => this.#adsz(sees),
        },
        authorizationz: {
          description: "the policies in force at ztunnels and at waypoints",
          value: (sees) => this.#authorizationz(sees),
        },
        config_dump: {
          description: "?proxyID=<pod>.<namespace>: what that proxy is sent, by type and version",
          value: (sees, query) => this.#sent(sees, query.get("proxyID") ?? ""),
        },
        configz: {
          description: "the mesh's objects as they were read",
          value: (sees) => [...this.#objects(sees)],
        },
        connections: {
          description: "who is connected",
          value: (sees) => this.#connections(sees),
        },
        endpointz: {
          description: "the instances of each service",
          value: (sees) => this.#services(sees, "endpoints"),
        },
        enforcedz: {
          description:
            "?kind=&namespace=&name=: the revision at which each proxy enforces a policy",
          value: (sees, query) => this.#enforced(sees, query),
        },
        mesh: {
          description: "the mesh's settings",
          value: (sees) => this.#mesh(sees),
        },
        registryz: {
          description: "the services",
          value: (sees) => this.#services(sees, "services"),
        },
        syncz: {
          description: "how far each proxy is",
          value: (sees) => this.visible(sees),
        },
      }),
    );
  }

  get names(): readonly string[] {
    return [...this.#pages.keys()];
  }

  /** Of names and descriptions. */
  get list(): Readonly<Record<string, string>> {
    return Object.fromEntries([...this.#pages].map(([name, page]) => [name, page.description]));
  }

  /** A value for JSON; undefined: there is no such page. */
  page(name: string, sees: Sees, query: URLSearchParams): unknown {
    const page = this.#pages.get(name);
    return page && (page.value(sees, query) ?? null);
  }

  /** The proxies that may be seen. */
  visible(sees: Sees): readonly AdsClientStatus[] {
    return this.#ads.clients.filter((client) => sees(client.namespace));
  }

  #connections(sees: Sees): unknown {
    const clients = this.visible(sees);
    return {
      totalClients: clients.length,
      clients: clients.map(({ node, connectedMs }) => ({
        connectionId: node,
        connectedAt: new Date(connectedMs).toISOString(),
      })),
    };
  }

  #adsz(sees: Sees): unknown {
    const clients = this.visible(sees).map(({ node, connectedMs, types, enforcedRevision }) => ({
      connectionId: node,
      connectedAt: new Date(connectedMs).toISOString(),
      enforcedRevision,
      watches: Object.fromEntries(types.map(({ type, ...rest }) => [type, rest])),
    }));
    return { totalClients: clients.length, clients };
  }

  #authorizationz(sees: Sees): unknown {
    const { l4Policies, policies, settings } = this.#control.current;
    return {
      rootNamespace: settings.rootNamespace,
      ztunnel: [...l4Policies.entries()]
        .filter(([key]) => sees(namespaceOf(key)))
        .map(([, policy]) => plain(policy)),
      waypoint: Object.fromEntries(
        [...policies.entries()]
          .map(([target, of]) => [target, of.filter(({ key }) => sees(namespaceOf(key)))] as const)
          .filter(([, of]) => of.length > 0)
          .map(([target, of]) => [target, plain(of)]),
      ),
    };
  }

  #enforced(sees: Sees, query: URLSearchParams): EnforcementReport {
    const asked = (name: string) => query.get(name) ?? undefined;
    const { revision, policies } = enforcementReport(this.#control, this.#ads.clients, {
      kind: asked("kind"),
      namespace: asked("namespace"),
      name: asked("name"),
    });
    return { revision, policies: policies.filter(({ namespace }) => sees(namespace)) };
  }

  *#objects(sees: Sees): Generator<KubeObject> {
    for (const kind of Object.keys(KINDS) as KindName[]) {
      if (isBuiltIn(kind)) continue;
      for (const [, { value }] of this.#control.objects<KubeObject>(kind)) {
        if (sees(value.metadata.namespace ?? "")) yield value;
      }
    }
  }

  #services(sees: Sees, what: "services" | "endpoints"): unknown {
    const { services, endpoints } = this.#control.current;
    const found: unknown[] = [];
    for (const [key, service] of services.entries()) {
      if (!sees(service.namespace)) continue;
      found.push(
        what === "services"
          ? plain(service)
          : { service: key, endpoints: plain(endpoints.get(key) ?? []) },
      );
    }
    return found;
  }

  #mesh(sees: Sees): unknown {
    const { settings } = this.#control.current;
    return sees(settings.rootNamespace) ? plain(settings) : null;
  }

  #sent(sees: Sees, proxyId: string): unknown {
    const client = this.visible(sees).find(({ node }) => isNamed(node, proxyId));
    const source = client && this.#ads.sentTo(client.node);
    if (client === undefined || source === undefined) {
      return { error: `no proxy ${JSON.stringify(proxyId)} is connected here` };
    }
    const configs = Object.values(RESOURCE_TYPES)
      .filter((type) => client.types.some((asked) => asked.type === type))
      .map((type) => ({
        type,
        resources: Array.from(source.resources(type).values(), ({ name, version }) => ({
          name,
          version,
        })),
      }));
    return { node: client.node, revision: source.revision, configs };
  }
}

function namespaceOf(key: string): string {
  return key.slice(0, key.indexOf("/"));
}

/** `<type>~<ip>~<pod>.<namespace>~<dns>`, or the third part of it. */
function isNamed(node: string, proxyId: string): boolean {
  return proxyId !== "" && (node === proxyId || node.split("~")[2] === proxyId);
}
