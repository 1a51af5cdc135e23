/**
 * What travels between a control plane and its proxies, whatever is in it: named, versioned,
 * encoded resources of a few types, in batches that belong together (DESIGN D2).
 *
 * The control plane holds a `ResourceSource` and serves it; a proxy (or the parent of its workers)
 * holds a `ResourceSink` and feeds it. Neither server nor client looks into a resource.
 */

/** The types, by what they hold. The first two are Istio's own; the real ztunnel takes them. */
export const RESOURCE_TYPES = {
  address: "type.googleapis.com/istio.workload.Address",
  authorization: "type.googleapis.com/istio.security.Authorization",
  waypoint: "type.googleapis.com/waystone.v1.Waypoint",
  routes: "type.googleapis.com/waystone.v1.AttachedRoutes",
  policies: "type.googleapis.com/waystone.v1.TargetPolicies",
  authentications: "type.googleapis.com/waystone.v1.TargetAuthentications",
  settings: "type.googleapis.com/waystone.v1.MeshSettings",
  /** Always the last of a batch: what came before it is to be swapped in. */
  revision: "type.googleapis.com/waystone.v1.Revision",
} as const;

export type ResourceType = (typeof RESOURCE_TYPES)[keyof typeof RESOURCE_TYPES];

export interface EncodedResource {
  readonly type: ResourceType;
  readonly name: string;
  /** Changes when, and only when, the content does. */
  readonly version: string;
  /** The encoded message: what the wire's `Any.value` holds. */
  readonly bytes: Uint8Array;
}

/** Which state of the mesh this is, and what it amounts to (so that both sides can compare). */
export interface RevisionStamp {
  readonly id: number;
  /** Over type, name and version of every resource of that state. */
  readonly digest: string;
}

/** From one revision to the next: what a proxy must change, all together. */
export interface ResourceBatch {
  readonly revision: RevisionStamp;
  readonly upserted: readonly EncodedResource[];
  readonly removed: readonly { readonly type: ResourceType; readonly name: string }[];
}

/** Resources of one type, by name. */
export interface ResourceIndex {
  get(name: string): EncodedResource | undefined;
  has(name: string): boolean;
  keys(): Iterable<string>;
  values(): Iterable<EncodedResource>;
}

/** The control plane's side: the state now, and every batch from here on. */
export interface ResourceSource {
  readonly revision: RevisionStamp;
  /** All resources of a type (the revision type excepted). */
  resources(type: ResourceType): ResourceIndex;
  subscribe(listener: (batch: ResourceBatch) => void): () => void;
}

/**
 * The proxy's side. A parent of workers can answer only when they have (a promise); whoever feeds
 * a sink waits for each answer before its next call.
 */
export interface ResourceSink {
  /** The types it wants, in the order in which it asks for them. */
  readonly types: readonly ResourceType[];
  /** What it holds, by name: told to the server after a reconnect, so that only news is sent. */
  versions(type: ResourceType): ReadonlyMap<string, string>;
  /**
   * Takes resources of one type, without effect until `commit`. Returns what is wrong with those
   * that it cannot take, as `name: reason`; the others are staged.
   */
  stage(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): readonly string[] | Promise<readonly string[]>;
  /** Swaps in what is staged. Returns why it cannot: then the old state stays in force. */
  commit(revision: RevisionStamp): string | undefined | Promise<string | undefined>;
}
