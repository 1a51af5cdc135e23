/**
 * Reads deploy/Dockerfile and .dockerignore as far as they go, and lays the files of a stage out in
 * a folder, without a container engine. An instruction that is not known here is an error: nothing
 * of the image goes unseen.
 */
import { spawnSync } from "node:child_process";
import { cp, mkdir, readdir, readFile, symlink } from "node:fs/promises";
import { basename, dirname, join, posix, relative } from "node:path";

interface Instruction {
  readonly name: string;
  readonly text: string;
}

export interface Stage {
  readonly name: string;
  readonly base: string;
  readonly instructions: readonly Instruction[];
}

export function parseDockerfile(text: string): readonly Stage[] {
  const lines = text
    .replace(/^\s*#.*\n/gm, "")
    .replace(/\\\n\s*/g, " ")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const stages: { name: string; base: string; instructions: Instruction[] }[] = [];
  const globals = new Map<string, string>();
  for (const line of lines) {
    const [, name = "", rest = ""] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
    if (name === "FROM") {
      const [, base = "", , own = ""] = /^(\S+)( AS (\S+))?$/.exec(rest) ?? [];
      const named = base.replace(/^\$\{(\w+)\}$/, (_, arg: string) => globals.get(arg) ?? "");
      stages.push({ name: own, base: named, instructions: [] });
    } else if (stages.length === 0) {
      const [, arg = "", value = ""] = /^(\w+)=(.*)$/.exec(name === "ARG" ? rest : "") ?? [];
      globals.set(arg, value);
    } else stages.at(-1)!.instructions.push({ name, text: rest });
  }
  return stages;
}

/** What one instruction of a stage says last. */
export function lastOf({ instructions }: Stage, name: string): string | undefined {
  return instructions.findLast((one) => one.name === name)?.text;
}

/** Whether the build is given a path of the repository. */
export async function dockerContext(root: string): Promise<(path: string) => boolean> {
  const text = await readFile(join(root, ".dockerignore"), "utf8");
  const rules = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => ({ pattern: patternOf(line.replace("!", "")), isKept: line.startsWith("!") }));
  return (path) => {
    let isGiven = true;
    for (const { pattern, isKept } of rules) {
      // A folder's rule is that of everything in it.
      const parts = path.split("/");
      const above = parts.map((_, index) => parts.slice(0, index + 1).join("/"));
      if (above.some((one) => pattern.test(one))) isGiven = isKept;
    }
    return isGiven;
  };
}

function patternOf(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  const source = escaped
    .replace(/\*\*\//g, "(?:\u0000/)?")
    .replace(/\*/g, "[^/]*")
    .replace(/\u0000/g, ".*");
  return new RegExp(`^${source}$`);
}

export interface LayoutOptions {
  readonly root: string;
  readonly stages: readonly Stage[];
  /** A folder for each stage. */
  readonly folder: string;
}

/** Carries the stages out; resolves with the folder that stands for the last one's `/`. */
export async function layOut({ root, stages, folder }: LayoutOptions): Promise<string> {
  const isGiven = await dockerContext(root);
  let at = "";
  for (const [index, stage] of stages.entries()) {
    at = join(folder, stage.name || `stage-${index}`);
    let workFolder = "/";
    for (const { name, text } of stage.instructions) {
      if (name === "WORKDIR") workFolder = posix.resolve(workFolder, text);
      else if (name === "COPY") await copy({ root, folder, at, workFolder, text, isGiven });
      else if (name === "RUN") await runCommand(root, join(at, workFolder), text);
      else if (!["ARG", "LABEL", "ENV", "USER", "ENTRYPOINT", "CMD"].includes(name)) {
        throw new Error(`${name} ${text}: not known to this test`);
      }
    }
  }
  return at;
}

interface Copy {
  readonly root: string;
  readonly folder: string;
  readonly at: string;
  readonly workFolder: string;
  readonly text: string;
  readonly isGiven: (path: string) => boolean;
}

async function copy({ root, folder, at, workFolder, text, isGiven }: Copy): Promise<void> {
  const words = text.split(/\s+/);
  const from = words[0]!.startsWith("--from=") ? words.shift()!.slice("--from=".length) : undefined;
  const target = words.pop()!;
  for (const source of words) {
    const to = posix.resolve(workFolder, target, target.endsWith("/") ? basename(source) : "");
    const start = from === undefined ? root : join(folder, from);
    const path = join(start, source);
    const filter = (one: string) => from !== undefined || isGiven(relative(root, one));
    if (!filter(path)) throw new Error(`COPY ${text}: .dockerignore leaves ${source} out`);
    await mkdir(dirname(join(at, to)), { recursive: true });
    await cp(path, join(at, to), { recursive: true, filter });
  }
}

/** The few commands that a build may run, and what they come to here. */
async function runCommand(root: string, folder: string, command: string): Promise<void> {
  const modules = join(root, "node_modules");
  if (/^npm ci( --(ignore-scripts|no-audit|no-fund))*$/.test(command)) {
    await symlink(modules, join(folder, "node_modules"));
  } else if (/^npm ci --omit=dev( --(ignore-scripts|no-audit|no-fund))*$/.test(command)) {
    await copyProduction(modules, folder);
  } else if (command === "npm run build") {
    const { status, stderr, stdout } = spawnSync("npm", ["run", "build"], { cwd: folder });
    if (status !== 0) throw new Error(`${command}: ${stdout}${stderr}`);
  } else throw new Error(`RUN ${command}: not known to this test`);
}

interface Lock {
  readonly packages: Readonly<
    Record<string, { readonly dev?: boolean; readonly optional?: boolean }>
  >;
}

/** What the lock file says is not for development. */
async function copyProduction(modules: string, folder: string): Promise<void> {
  const lock = JSON.parse(await readFile(join(folder, "package-lock.json"), "utf8")) as Lock;
  for (const [path, { dev = false, optional = false }] of Object.entries(lock.packages)) {
    if (path === "" || dev) continue;
    const from = join(modules, path.slice("node_modules/".length));
    // Its own packages, of other versions, have entries of their own.
    const filter = (one: string) => !relative(from, one).split("/").includes("node_modules");
    await cp(from, join(folder, path), { recursive: true, filter, dereference: true }).catch(
      (caught: NodeJS.ErrnoException) => {
        if (!optional || caught.code !== "ENOENT") throw caught;
      },
    );
  }
}

/** All files under a folder, as paths in it. */
export async function filesUnder(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)));
}
