/**
 * Each folder of test/fixtures/provision is a situation: `input.yaml` has a Gateway, the overlays'
 * ConfigMaps and settings that differ from the usual; `objects.yaml` is what comes of it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseAllDocuments, stringify } from "yaml";
import type { Gateway } from "../../api/gateway.ts";
import type { KubeObject } from "../../api/object.ts";
import { run } from "../../cli/program.ts";
import { type Overlay, waypointObjects } from "./waypoint-objects.ts";
import type { WaypointSettings } from "./waypoint-settings.ts";

const FOLDER = join(import.meta.dirname, "../../../test/fixtures/provision");

const SETTINGS: WaypointSettings = {
  image: "example.org/waystone:0.1.0",
  xdsAddress: "istiod.istio-system.svc:15012",
};
const OWNER = { className: "istio-waypoint", controllerName: "istio.io/mesh-controller" };

function planOf(folder: string) {
  const text = readFileSync(join(FOLDER, folder, "input.yaml"), "utf8");
  const documents = parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
  const gateway = documents.find(({ kind }) => kind === "Gateway") as Gateway;
  const overlays = documents
    .filter(({ kind }) => kind === "ConfigMap")
    .map(({ metadata, data }): Overlay => {
      const name = `${metadata.namespace}/${metadata.name}`;
      return { name, data: (data ?? {}) as Overlay["data"] };
    });
  const own = documents.find(({ kind }) => kind === "WaypointSettings") as
    | (KubeObject & { readonly settings: Partial<WaypointSettings>; readonly owner?: typeof OWNER })
    | undefined;
  const settings = { ...SETTINGS, ...own?.settings };
  return waypointObjects(gateway, own?.owner ?? OWNER, settings, overlays);
}

const situations = readdirSync(FOLDER);

describe.each(situations)("%s", (situation) => {
  test("comes to these objects", async () => {
    const plan = planOf(situation);
    const text =
      "invalid" in plan
        ? stringify(plan)
        : plan.objects
            .map((object) => stringify(object, { aliasDuplicateObjects: false }))
            .join("---\n");
    await expect(text).toMatchFileSnapshot(join(FOLDER, situation, "objects.yaml"));
  });
});

test("there are situations", () => {
  expect(situations.length).toBeGreaterThanOrEqual(16);
});

const container = (objects: readonly KubeObject[]) => {
  const deployment = objects.find(({ kind }) => kind === "Deployment") as unknown as {
    spec: { template: { spec: PodSpec } };
  };
  const pod = deployment.spec.template.spec;
  return { pod, container: pod.containers[0]! };
};

interface PodSpec {
  readonly securityContext: Record<string, unknown>;
  readonly containers: readonly {
    readonly args: readonly string[];
    readonly securityContext: Record<string, unknown>;
    readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  }[];
  readonly volumes: readonly { readonly name: string }[];
}

test.each(["plain"])("the arguments of %s are the command's own", async (name) => {
  const plan = planOf(name);
  if ("invalid" in plan) throw new Error(plan.invalid);
  const args = container(plan.objects).container.args.map((arg) =>
    arg.replace("$(POD_NAMESPACE)/waypoint", "nonsense").replace("$(INSTANCE_IP)", "::1"),
  );
  const said: string[] = [];
  const output = { print: () => {}, say: (text: string) => said.push(text) };
  await run(args, output as never);
  // The command looks at its argument when all options are parsed.
  expect(said.join("\n")).toContain("nonsense is not NAMESPACE/NAME of a Gateway");
});

test("the Pod keeps to the standard `restricted`, and mounts what it names", () => {
  const plan = planOf("plain");
  if ("invalid" in plan) throw new Error(plan.invalid);
  const { pod, container: only } = container(plan.objects);
  expect(pod.securityContext).toMatchObject({
    runAsNonRoot: true,
    seccompProfile: { type: "RuntimeDefault" },
  });
  expect(only.securityContext).toMatchObject({
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    readOnlyRootFilesystem: true,
  });
  const volumes = pod.volumes.map(({ name }) => name);
  expect(only.volumeMounts.map(({ name }) => name).toSorted()).toEqual(volumes.toSorted());
});
