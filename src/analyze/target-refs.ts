/** `targetRefs` as remedies write them. */
import type { Service } from "../model/service.ts";

/** Istio's limit. */
export const TARGETS_MAX = 16;

export function targetRefOf(service: Service): object {
  const { kind, name } = service.source;
  return { group: kind === "Service" ? "" : "networking.istio.io", kind, name };
}
