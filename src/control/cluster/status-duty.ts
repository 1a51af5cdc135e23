/**
 * The leader's work on statuses: at the beginning of its lead it looks at all of them, then at
 * those of objects that are others, or have something else to say.
 */
import { KINDS, type KindName } from "../../api/kinds.ts";
import { objectKey } from "../../translate/object-names.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { KubernetesSource } from "../source/kubernetes/kubernetes-source.ts";
import type { Duty } from "./cluster-duties.ts";
import type { WantedStatus } from "./status-merge.ts";
import { StatusWriter } from "./status-writer.ts";

export interface StatusDutyOptions {
  readonly source: Pick<KubernetesSource, "client" | "observed" | "onObserved" | "served">;
  readonly control: Pick<ControlPlane, "objects" | "onChange" | "onConditions">;
  readonly wanted: {
    readonly kinds: readonly KindName[];
    of(kind: KindName, key: string): WantedStatus | undefined;
    /** Calls back when it is another one for another reason than the object or its conditions. */
    subscribe(listener: (kind: KindName, key: string) => void): () => void;
  };
  readonly fieldManager: string;
  readonly onWritten?: () => void;
}

export function statusDuty(options: StatusDutyOptions): Duty {
  return { lead: (signal) => lead(options, signal) };
}

function lead(options: StatusDutyOptions, signal: AbortSignal): void {
  const { source, control, wanted, fieldManager, onWritten } = options;
  const kinds = new Set(wanted.kinds);
  const writer = new StatusWriter({
    client: source.client,
    observed: (kind, key) => source.observed(kind, key),
    served: (kind) => source.served(kind),
    wanted: (kind, key) => wanted.of(kind, key),
    fieldManager,
    signal,
    ...(onWritten === undefined ? {} : { onWritten }),
  });
  const touch = (kind: KindName, key: string) => {
    if (kinds.has(kind)) writer.touch(kind, key);
  };
  const ends = [
    source.onObserved(touch),
    control.onConditions((keys) => {
      for (const id of keys) {
        const slash = id.indexOf("/");
        touch(id.slice(0, slash) as KindName, id.slice(slash + 1));
      }
    }),
    control.onChange(({ upserted }) => {
      for (const { kind, value } of upserted) {
        const { namespace = "default", name } = value.metadata;
        touch(kind, objectKey(KINDS[kind].isNamespaced ? namespace : "", name));
      }
    }),
    wanted.subscribe(touch),
  ];
  signal.addEventListener("abort", () => {
    for (const end of ends) end();
  });
  for (const kind of kinds) {
    for (const [key] of control.objects(kind)) writer.touch(kind, key);
  }
}
