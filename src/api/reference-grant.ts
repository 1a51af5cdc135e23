/** ReferenceGrant (Gateway API). */
import type { KubeObject } from "./object.ts";

export interface ReferenceGrant extends KubeObject {
  readonly kind: "ReferenceGrant";
  readonly spec: {
    readonly from: readonly {
      readonly group: string;
      readonly kind: string;
      readonly namespace: string;
    }[];
    readonly to: readonly {
      readonly group: string;
      readonly kind: string;
      readonly name?: string;
    }[];
  };
}
