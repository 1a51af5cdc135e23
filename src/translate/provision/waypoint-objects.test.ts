/**
 * Each folder of test/fixtures/provision is a situation: `input.yaml` has a Gateway, the overlays'
 * ConfigMaps and settings that differ from the usual; `objects.yaml` is what comes of it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { expect, test, vi } from "vitest";
import { parseAllDocuments, stringify } from "yaml";
import type { Gateway } from "../../api/gateway.ts";
import type { KubeObject } from "../../api/object.ts";
import { run } from "../../cli/program.ts";
import { PROXY_OPTIONS, proxyOptions } from "../../cli/proxy-options.ts";
import { type Overlay, waypointObjects } from "./waypoint-objects.ts";
import type { WaypointSettings } from "./waypoint-settings.ts";

const FOLDER = join(import.meta.dirname, "../../../test/fixtures/provision");

const SETTINGS: WaypointSettings = {
  image: "example.org/waystone:0.1.0",
  xdsAddress: "istiod.istio-system.svc:15012",
};
const OWNER = { className: "istio-waypoint", controllerName: "istio.io/mesh-controller" };

function planOf(folder: string, times = 1) {
  const text = readFileSync(join(FOLDER, folder, "input.yaml"), "utf8");
  const documents = parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
  const gateway = documents.find(({ kind }) => kind === "Gateway") as Gateway;
  const overlays = documents
    .filter(({ kind }) => kind === "ConfigMap")
    .map(({ metadata, data }): Overlay => {
      const name = `${metadata.namespace}/${metadata.name}`;
      return { name, data: (data ?? {}) as Overlay["data"] };
    })
    .flatMap((overlay) => Array.from({ length: times }, () => overlay));
  const own = documents.find(({ kind }) => kind === "WaypointSettings") as
    | (KubeObject & { readonly settings: Partial<WaypointSettings>; readonly owner?: typeof OWNER })
    | undefined;
  const settings = { ...SETTINGS, ...own?.settings };
  return waypointObjects(gateway, own?.owner ?? OWNER, settings, overlays);
}

const situations = readdirSync(FOLDER);

test.each(situations)("%s comes to these objects", async (situation) => {
  const plan = planOf(situation);
  const text =
    "invalid" in plan
      ? stringify(plan)
      : plan.objects
          .map((object) => stringify(object, { aliasDuplicateObjects: false }))
          .join("---\n");
  await expect(text).toMatchFileSnapshot(join(FOLDER, situation, "objects.yaml"));
});

test("there are situations", () => {
  expect(situations.length).toBeGreaterThanOrEqual(40);
});

interface Container {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly resources: { readonly limits: Record<string, unknown> };
  readonly securityContext: Record<string, unknown>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
}

interface PodSpec {
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: Record<string, unknown>;
  readonly containers: readonly [Container];
  readonly volumes: readonly Readonly<Record<string, unknown>>[];
}

function podOf(situation: string): PodSpec {
  const plan = planOf(situation);
  if ("invalid" in plan) throw new Error(plan.invalid);
  const deployment = plan.objects.find(({ kind }) => kind === "Deployment");
  return (deployment as unknown as { spec: { template: { spec: PodSpec } } }).spec.template.spec;
}

/** What no overlay has touched. */
const untouched = situations.filter((situation) => {
  const text = readFileSync(join(FOLDER, situation, "input.yaml"), "utf8");
  return !text.includes("kind: ConfigMap") && "objects" in planOf(situation);
});

/** Of Kubernetes' Pod security standard `restricted`, what a Pod has to say or may not say. */
test.each(untouched)("the Pod of %s keeps to the standard `restricted`", (situation) => {
  const pod = podOf(situation);
  const [container] = pod.containers;
  expect(pod.containers).toHaveLength(1);
  expect(pod.securityContext).toMatchObject({
    runAsNonRoot: true,
    seccompProfile: { type: "RuntimeDefault" },
  });
  expect(container.securityContext).toMatchObject({
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    readOnlyRootFilesystem: true,
    runAsUser: 1337,
  });
  for (const field of ["hostNetwork", "hostPID", "hostIPC"]) expect(pod).not.toHaveProperty(field);
  const kinds = pod.volumes
    .flatMap((volume) => Object.keys(volume))
    .filter((key) => key !== "name");
  expect(new Set(kinds)).toEqual(new Set(["emptyDir", "configMap", "projected"]));
});

test("the Pod mounts the volumes that it has, and writes to one", () => {
  const { volumes, containers } = podOf("plain");
  const mounts = containers[0].volumeMounts;
  expect(mounts.map(({ name }) => name)).toEqual(volumes.map(({ name }) => name));
  const state = mounts.find(({ name }) => name === "state")!;
  expect(containers[0].args).toContain(`${state.mountPath}/last-configuration`);
  expect(mounts.filter((mount) => !("readOnly" in mount))).toEqual([state]);
});

/** Not yet options of the command. */
const LATER: ReadonlySet<string> = new Set(["--istiod", "--control-plane-identity"]);

/** As the kubelet hands them over. */
function argsOf(situation: string): readonly string[] {
  const args = podOf(situation).containers[0].args.map((arg) =>
    arg.replace("$(POD_NAMESPACE)", "shop").replace("$(INSTANCE_IP)", "fd00::7"),
  );
  return args.filter((arg, index) => !LATER.has(arg) && !LATER.has(args[index - 1] ?? ""));
}

test.each(untouched)("the arguments of %s are the command's own", async (situation) => {
  const args = argsOf(situation).map((arg) => (arg.startsWith("shop/") ? "nonsense" : arg));
  const said: string[] = [];
  await run(args, { print: () => {}, say: (text: string) => said.push(text) } as never);
  // The command looks at its argument when all options are parsed.
  expect(said.join("\n")).toContain("nonsense is not NAMESPACE/NAME of a Gateway");
});

test("the arguments come to ports on the Pod's address, and an end within the grace period", () => {
  const { containers, terminationGracePeriodSeconds } = podOf("plain");
  const variables = new Map(containers[0].env.map(({ name, value }) => [name, value]));
  const grace = variables.get("TERMINATION_GRACE_PERIOD_SECONDS");
  expect(grace).toBe(String(terminationGracePeriodSeconds));
  vi.stubEnv("TERMINATION_GRACE_PERIOD_SECONDS", grace);
  try {
    const command = new Command().argument("<gateway>").addOption(PROXY_OPTIONS.serviceAccount());
    for (const option of proxyOptions()) command.addOption(option);
    const options = command.parse(argsOf("plain").slice(1), { from: "user" }).opts();
    expect(command.args).toEqual(["shop/waypoint"]);
    expect(options).toMatchObject({
      serviceAccount: "waypoint",
      xdsAddress: { host: "istiod.istio-system.svc", port: 15012 },
      metricsAddress: { host: "fd00::7", port: 15020 },
      readinessAddress: { host: "fd00::7", port: 15021 },
      workers: 0,
    });
    expect(options.adminAddress).toBeUndefined();
    expect(options.drainTimeout).toBeLessThan(terminationGracePeriodSeconds * 1000);
  } finally {
    vi.unstubAllEnvs();
  }
});

test.each(situations)("%s comes to the same with each overlay laid on twice", (situation) => {
  expect(planOf(situation, 2)).toEqual(planOf(situation));
});
