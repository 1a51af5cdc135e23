/** ServiceEntry (Istio networking). */
import type { KubeObject } from "./object.ts";
import type { WorkloadEntrySpec } from "./workload-entry.ts";

export interface ServiceEntryPort {
  readonly number: number;
  readonly name: string;
  readonly protocol?: string;
  readonly targetPort?: number;
}

export interface ServiceEntry extends KubeObject {
  readonly kind: "ServiceEntry";
  readonly spec: {
    readonly hosts: readonly string[];
    readonly addresses?: readonly string[];
    readonly ports?: readonly ServiceEntryPort[];
    readonly location?: string;
    readonly resolution?: string;
    readonly endpoints?: readonly WorkloadEntrySpec[];
    readonly workloadSelector?: { readonly labels?: Readonly<Record<string, string>> };
    readonly exportTo?: readonly string[];
    readonly subjectAltNames?: readonly string[];
  };
}
