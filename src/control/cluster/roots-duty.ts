/**
 * The leader's work on roots: every namespace has the ConfigMap `istio-ca-root-cert`, by which Pods
 * know the mesh's roots, as with istiod.
 */
import type { KubeObject } from "../../api/object.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { KubeClient } from "../source/kubernetes/kube-client.ts";
import type { Duty } from "./cluster-duties.ts";
import { OwnedObjects } from "./owned-objects.ts";

export interface RootsDutyOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  readonly control: Pick<ControlPlane, "object" | "objects" | "onChange">;
  readonly roots: {
    /** As proxies are to trust them now. */
    readonly rootsPem: string;
    /** Calls back when they are others. */
    onRoots?(listener: () => void): () => void;
  };
  readonly lookMs?: number;
}

const NAME = "istio-ca-root-cert";
const KEY = "root-cert.pem";
/** What istiod writes on it, too: its ConfigMaps are taken over. */
const LABEL = { key: "istio.io/config", value: "true" };
/** No mesh is there. */
const LEFT_OUT: ReadonlySet<string> = new Set(["kube-system", "kube-public", "kube-node-lease"]);
const LOOK_MS = 60_000;

export function rootsDuty(options: RootsDutyOptions): Duty {
  return { lead: (signal) => lead(options, signal) };
}

function lead({ client, control, roots, lookMs }: RootsDutyOptions, signal: AbortSignal): void {
  const plan = async (namespace: string): Promise<readonly KubeObject[] | undefined> => {
    const found = control.object<KubeObject>("Namespace", namespace);
    if (found === undefined || found.value.metadata.deletionTimestamp) return undefined;
    return [rootsMap(namespace, roots.rootsPem)];
  };
  const objects = new OwnedObjects({
    client,
    fieldManager: "waystone-roots",
    label: LABEL,
    isListed: false,
    plan,
    ownerOf: ({ metadata }) => metadata.namespace,
    signal,
    lookMs: lookMs ?? LOOK_MS,
  });
  const touch = (namespace: string) => {
    if (!LEFT_OUT.has(namespace)) objects.touch(namespace);
  };
  const touchAll = () => {
    for (const [name] of control.objects("Namespace")) touch(name);
  };
  const ends = [
    control.onChange(({ upserted }) => {
      for (const { kind, value } of upserted) if (kind === "Namespace") touch(value.metadata.name);
    }),
    roots.onRoots?.(touchAll) ?? (() => {}),
  ];
  signal.addEventListener("abort", () => {
    for (const end of ends) end();
  });
  objects.start();
  touchAll();
}

function rootsMap(namespace: string, rootsPem: string): KubeObject {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: NAME, namespace, labels: { [LABEL.key]: LABEL.value } },
    data: { [KEY]: rootsPem },
  };
}
