/**
 * `waystone install` and `waystone uninstall`: the objects of the Helm chart, applied or printed
 * without Helm, and removed again.
 */
import { readFile } from "node:fs/promises";
import { stringify } from "yaml";
import { ClusterAccess } from "../../control/source/kubernetes/cluster-access.ts";
import { KubeClient } from "../../control/source/kubernetes/kube-client.ts";
import { usageError } from "../command-error.ts";
import { NAME } from "../install/chart-names.ts";
import { CHART } from "../install/chart-objects.ts";
import type { AccessOptions, InstallOptions } from "../install/install-options.ts";
import { objectPath } from "../install/installed-kinds.ts";
import { InstalledObjects, installationOf } from "../install/installed-objects.ts";
import { render } from "../install/render.ts";
import { rolledOut } from "../install/rollout.ts";
import { withSet } from "../install/set-values.ts";
import { checkValues, overlaid, parseValues, usualValues, type Values } from "../install/values.ts";
import type { Output } from "../output.ts";
import { version } from "../version.ts";

/** Without a byte from the API server. */
const SILENCE_MS = 30_000;

export async function install(options: InstallOptions, output: Output): Promise<number> {
  const values = await valuesOf(options);
  const namespace = namespaceOf(options, values);
  const builtIns = { namespace, release: NAME, appVersion: version() };
  const rendered = render(CHART, { values, builtIns });
  if (options.dryRun) {
    const documents = rendered.map(({ object }) =>
      stringify(object, { version: "1.1", lineWidth: 0 }),
    );
    output.print(documents.join("---\n").trimEnd());
    return 0;
  }
  const client = new KubeClient(new ClusterAccess(options), SILENCE_MS);
  const objects = new InstalledObjects({
    client,
    isForced: options.forceConflicts === true,
    tell: (line) => output.print(line),
  });
  await objects.check();
  await objects.ensureNamespace(namespace);
  await objects.apply(rendered);
  // What another version or other values had, and these do not.
  const wanted = new Set(rendered.map(({ object }) => objectPath(object)));
  const stale = (await objects.find()).filter(
    (object) => installationOf(object) === namespace && !wanted.has(objectPath(object)),
  );
  await objects.remove(stale);
  if (options.wait) {
    await rolledOut({ client, namespace, name: NAME, timeoutMs: options.timeout });
    output.say("The control plane is ready.");
  }
  return 0;
}

const LEFT = `Left as they are: namespaces, definitions of kinds, the Secrets istio-ca-secret, cacerts
and waystone-ca with the mesh's keys, the ConfigMaps istio-ca-root-cert, and the objects of
waypoints, which go with their Gateways.`;

export async function uninstall(options: AccessOptions, output: Output): Promise<number> {
  const client = new KubeClient(new ClusterAccess(options), SILENCE_MS);
  const objects = new InstalledObjects({
    client,
    isForced: false,
    tell: (line) => output.print(line),
  });
  const found = await objects.find();
  const namespaces = [...new Set(found.map(installationOf))].sort();
  if (options.namespace === undefined && namespaces.length > 1) {
    throw usageError(
      `there are installations in ${namespaces.join(" and ")}`,
      "Say with --namespace which of them goes.",
    );
  }
  const namespace = options.namespace ?? namespaces[0];
  const own = found.filter((object) => installationOf(object) === namespace);
  if (own.length === 0) {
    const where = namespace === undefined ? "" : ` in ${namespace}`;
    output.say(`Nothing is here that 'waystone install' has applied${where}.`);
    return 0;
  }
  await objects.remove(own);
  output.say(LEFT);
  return 0;
}

async function valuesOf({ mode, set = [], values: files = [] }: InstallOptions): Promise<Values> {
  let own: Values = {};
  for (const path of files) {
    own = overlaid(own, parseValues(await readFile(path, "utf8"), path), true);
  }
  for (const text of set) own = withSet(own, text);
  if (mode !== undefined) own = { ...own, mode };
  const values = overlaid(usualValues(), own);
  checkValues(values);
  return values;
}

function namespaceOf({ namespace }: InstallOptions, { mode }: Values): string {
  const name = namespace ?? (mode === "beside" ? "waystone-system" : "istio-system");
  if (/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) return name;
  throw usageError(`${name} is no name of a namespace`);
}
