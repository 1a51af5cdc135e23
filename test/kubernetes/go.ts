/**
 * The `go` command, as far as the tests need it: is it here, where is a module, build a program.
 *
 * What is on the machine decides how: GOFLAGS, GOPROXY and the caches are the user's own.
 */
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface GoModule {
  readonly Dir: string;
  readonly GoMod: string;
}

export function hasGo(): boolean {
  return spawnSync("go", ["version"]).status === 0;
}

/** Downloads a module, or finds it in Go's cache. */
export async function goModule(path: string, version: string): Promise<GoModule> {
  // Outside of any module, so that no go.mod above decides about versions.
  const options = { cwd: "/", env: environment() };
  const args = ["mod", "download", "-json", `${path}@${version}`];
  // What is wrong stands in the JSON too, and then the exit code is not 0.
  const told = await run("go", args, options).catch((failed: { stdout: string }) => failed);
  const module = JSON.parse(told.stdout || "{}") as GoModule & { readonly Error?: string };
  if (!module.Dir) throw new Error(`go ${args.join(" ")}: ${module.Error ?? String(told)}`);
  return module;
}

/** Builds a main package from inside of a module; what Go prints goes to stderr as it comes. */
export async function goBuild(
  folder: string,
  program: { readonly package: string; readonly output: string; readonly linkerFlags: string },
): Promise<void> {
  const args = ["build", "-mod=mod", "-trimpath", "-ldflags", program.linkerFlags];
  const child = spawn("go", [...args, "-o", program.output, program.package], {
    cwd: folder,
    env: environment(),
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`go build ${program.package} in ${folder}: exit code ${code}`);
}

/** Builds the program of a module, by the module's own choice of versions, into a folder. */
export async function goInstall(program: string, folder: string): Promise<void> {
  const child = spawn("go", ["install", "-trimpath", "-ldflags", "-s -w", program], {
    cwd: "/",
    env: { ...environment(), GOBIN: folder },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`go install ${program}: exit code ${code}`);
}

/** Without C: none of the programs needs it, and so no compiler for it has to be there. */
function environment(): NodeJS.ProcessEnv {
  return { ...process.env, CGO_ENABLED: "0", GOWORK: "off" };
}
