/** WorkloadEntry (Istio networking). */
import type { KubeObject } from "./object.ts";

export interface WorkloadEntrySpec {
  readonly address?: string;
  readonly ports?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly network?: string;
  readonly locality?: string;
  readonly weight?: number;
  readonly serviceAccount?: string;
}

export interface WorkloadEntry extends KubeObject {
  readonly kind: "WorkloadEntry";
  readonly spec: WorkloadEntrySpec;
}
