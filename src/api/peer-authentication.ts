/** PeerAuthentication (Istio security). */
import type { KubeObject } from "./object.ts";

export type MutualTLSMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

export interface PeerAuthentication extends KubeObject {
  readonly kind: "PeerAuthentication";
  readonly spec?: {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
    readonly mtls?: { readonly mode?: MutualTLSMode };
    /** By port of the workload. */
    readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: MutualTLSMode }>>;
  };
}
