/**
 * etcd, kube-apiserver, kube-controller-manager and kubectl, built from their Go modules into a
 * cache folder, and the CRDs out of the modules that hold them:
 *
 *     <cache>/1.37.2/  go.mod  go.sum  bin/{etcd,kube-apiserver,…}
 *     <cache>/crds/    gateway-api-standard-1.6.3.json  istio-1.31.1.json  …
 *
 * The cache is `WAYSTONE_KUBERNETES_CACHE`, or `waystone/kubernetes` in the user's cache folder.
 * Programs are built once for each version; a file that is there is complete, because it gets its
 * name last.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { parseAllDocuments } from "yaml";
import { goBuild, goModule, hasGo } from "./go.ts";
import { VERSIONS } from "./versions.ts";

const ETCD = "go.etcd.io/etcd/server/v3";
const KUBERNETES = "k8s.io/kubernetes";
/** The user's own kubectl comes first; only without one it is built. */
const ON_PATH = "kubectl";

/** Sets of CRDs: a module, its version, and the folder in it. */
const CRDS = {
  "gateway-api-standard": ["sigs.k8s.io/gateway-api", VERSIONS.gatewayApi, "config/crd/standard"],
  "gateway-api-experimental": [
    "sigs.k8s.io/gateway-api",
    VERSIONS.gatewayApi,
    "config/crd/experimental",
  ],
  istio: ["istio.io/api", VERSIONS.istioApi, "kubernetes"],
} as const;

export type CrdSet = keyof typeof CRDS;
const CRD_SETS = Object.keys(CRDS) as CrdSet[];

/** Where the programs are, and the CRDs: each set a List, as `kubectl apply` takes it. */
export interface Toolchain {
  readonly etcd: string;
  readonly apiServer: string;
  readonly controllerManager: string;
  readonly kubectl: string;
  readonly crds: Readonly<Record<CrdSet, string>>;
}

/** What was built before, or why there is nothing. */
export function findToolchain(): Toolchain | { readonly missing: string } {
  const toolchain = layout();
  const { crds, kubectl, ...programs } = toolchain;
  const needed = [...Object.values(programs), ...Object.values(crds)];
  if (kubectl !== ON_PATH) needed.push(kubectl);
  const absent = needed.find((path) => !existsSync(path));
  if (absent === undefined) return toolchain;
  if (!hasGo()) return { missing: "Go is not on this machine" };
  return { missing: "npm run test:kubernetes has to build Kubernetes first" };
}

/** Whether tests cannot run here; why is printed. */
export function isMissing(what: string): boolean {
  const found = findToolchain();
  if (!("missing" in found)) return false;
  process.stderr.write(`kubernetes: ${what} skipped, ${found.missing}\n`);
  return true;
}

/** Builds what is missing; says so, because it takes long. */
export async function makeToolchain(): Promise<Toolchain> {
  const toolchain = layout();
  await makeModule(moduleFolder());
  await build(toolchain.etcd, ETCD);
  await build(toolchain.apiServer, `${KUBERNETES}/cmd/kube-apiserver`);
  await build(toolchain.controllerManager, `${KUBERNETES}/cmd/kube-controller-manager`);
  await build(toolchain.kubectl, `${KUBERNETES}/cmd/kubectl`);
  for (const set of CRD_SETS) await takeCrds(set, toolchain.crds[set]);
  return toolchain;
}

/** Where everything is that is built. */
export function cacheFolder(): string {
  const { WAYSTONE_KUBERNETES_CACHE: own, XDG_CACHE_HOME: user } = process.env;
  return own || join(user || join(homedir(), ".cache"), "waystone/kubernetes");
}

function moduleFolder(): string {
  return join(cacheFolder(), VERSIONS.kubernetes);
}

function layout(): Toolchain {
  const program = (name: string) => join(moduleFolder(), "bin", name);
  const crds = CRD_SETS.map((set) => {
    return [set, join(cacheFolder(), "crds", `${set}-${CRDS[set][1]}.json`)] as const;
  });
  return {
    etcd: program("etcd"),
    apiServer: program("kube-apiserver"),
    controllerManager: program("kube-controller-manager"),
    kubectl: onPath(ON_PATH) ? ON_PATH : program("kubectl"),
    crds: Object.fromEntries(crds) as Record<CrdSet, string>,
  };
}

function onPath(program: string): boolean {
  return spawnSync(program, ["version", "--client"]).status === 0;
}

/**
 * A module of our own around Kubernetes. Its go.mod replaces the modules of its `staging` folder by
 * that folder, which is left out of the module; each is published beside it as v0.<minor>.<patch>,
 * and for a main module such a replacement is allowed.
 */
async function makeModule(folder: string): Promise<void> {
  const path = join(folder, "go.mod");
  if (existsSync(path)) return;
  const version = `v${VERSIONS.kubernetes}`;
  const theirs = await readFile((await goModule(KUBERNETES, version)).GoMod, "utf8");
  const staged = [...theirs.matchAll(/^\s*(\S+) => \.\/staging\/\S+$/gm)].map((match) => match[1]);
  const stagedVersion = version.replace(/^v1\./, "v0.");
  const text = [
    "module waystone.test/kubernetes",
    ...[/^go .+$/m, /^godebug .+$/m].map((line) => line.exec(theirs)?.[0] ?? ""),
    `require ${KUBERNETES} ${version}`,
    ...staged.map((module) => `replace ${module} => ${module} ${stagedVersion}`),
  ];
  await mkdir(folder, { recursive: true });
  await writeFile(path, `${text.join("\n")}\n`);
}

async function build(output: string, main: string): Promise<void> {
  if (output === ON_PATH || existsSync(output)) return;
  process.stderr.write(`kubernetes: building ${main}, once; it takes minutes\n`);
  const partial = `${output}.${process.pid}`;
  await goBuild(moduleFolder(), { package: main, output: partial, linkerFlags: linkerFlags() });
  await rename(partial, output);
}

/** Without symbols, for the sake of size; the version is what the programs call their own. */
function linkerFlags(): string {
  const [major, minor] = VERSIONS.kubernetes.split(".");
  const told = { gitVersion: `v${VERSIONS.kubernetes}`, gitMajor: major, gitMinor: minor };
  const set = Object.entries(told).map(
    ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
  );
  return ["-s", "-w", ...set].join(" ");
}

/** A folder of a module, as JSON: each start of a cluster reads it, and YAML is slow. */
async function takeCrds(set: CrdSet, output: string): Promise<void> {
  if (existsSync(output)) return;
  const [module, version, path] = CRDS[set];
  const folder = join((await goModule(module, `v${version}`)).Dir, path);
  const items: unknown[] = [];
  for (const file of await readdir(folder)) {
    if (!file.endsWith(".yaml") || file === "kustomization.yaml") continue;
    const documents = parseAllDocuments(await readFile(join(folder, file), "utf8"));
    items.push(...documents.map((one) => one.toJS() as unknown).filter((one) => one !== null));
  }
  await mkdir(dirname(output), { recursive: true });
  await writeFile(
    `${output}.${process.pid}`,
    JSON.stringify({ apiVersion: "v1", kind: "List", items }),
  );
  await rename(`${output}.${process.pid}`, output);
}
