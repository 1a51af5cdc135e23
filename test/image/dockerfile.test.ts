/**
 * The image of deploy/Dockerfile, laid out as files: it has what it needs and nothing beside, and
 * its program runs from read-only files as the image's user.
 */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  dockerContext,
  filesUnder,
  lastOf,
  layOut,
  parseDockerfile,
  type Stage,
} from "./dockerfile.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

let folder = "";
let image = "";
let files: readonly string[] = [];
let stages: readonly Stage[] = [];
let last: Stage;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "waystone-image-"));
  // The image's user has to get in.
  await chmod(folder, 0o755);
  stages = parseDockerfile(await readFile(join(ROOT, "deploy/Dockerfile"), "utf8"));
  last = stages.at(-1)!;
  image = await layOut({ root: ROOT, stages, folder });
  files = await filesUnder(image);
}, 120_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The image's entry point with arguments, as its user where this process may become it. */
async function runImage(...args: string[]): Promise<SpawnSyncReturns<string>> {
  const [program, ...own] = JSON.parse(lastOf(last, "ENTRYPOINT")!) as string[];
  expect(program).toBe("/usr/local/bin/node");
  const inImage = own.map((arg) => (arg.startsWith("/") ? join(image, arg) : arg));
  const [uid = 0, gid = 0] = lastOf(last, "USER")!.split(":").map(Number);
  const isRoot = process.getuid?.() === 0;
  return spawnSync(process.execPath, [...inImage, ...args], {
    cwd: join(image, "app"),
    env: { PATH: "/nowhere", HOME: "/nowhere", TMPDIR: "/nowhere", NODE_ENV: "production" },
    encoding: "utf8",
    ...(isRoot ? { uid, gid } : {}),
  });
}

test("the build is given only what the image is made of", async () => {
  const isGiven = await dockerContext(ROOT);
  for (const path of ["package.json", "src/cli/main.ts", "src/wire/gen/x.ts", "LICENSE"]) {
    expect(isGiven(path), path).toBe(true);
  }
  for (const path of [
    ...[".git/config", ".npmrc", ".env", "node_modules/ajv/package.json", "dist/cli/main.js"],
    ...["test/docs/chart.test.ts", "src/cli/program.test.ts", "src/a.test.ts", "README.md"],
  ]) {
    expect(isGiven(path), path).toBe(false);
  }
});

test("all stages have one base, which an argument names", async () => {
  expect(stages.map(({ base }) => base)).toEqual(stages.map(() => "node:24-slim"));
  const { engines } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
  expect(engines.node).toContain(">=22");
});

test("it runs as a user that is a number and not root, by no shell", () => {
  const [uid, gid] = lastOf(last, "USER")!.split(":").map(Number);
  expect(uid).toBeGreaterThan(0);
  expect(gid).toBeGreaterThan(0);
  for (const name of ["ENTRYPOINT", "CMD"]) {
    expect(JSON.parse(lastOf(last, name)!), name).toBeInstanceOf(Array);
  }
  expect(last.instructions.filter(({ name }) => name === "RUN")).toEqual([]);
});

test("it says what it is", () => {
  const label = lastOf(last, "LABEL")!;
  for (const key of ["title", "description", "licenses", "version", "revision"]) {
    expect(label).toContain(`org.opencontainers.image.${key}=`);
  }
});

test("it has no tests, no tools of development, no secrets", async () => {
  const own = files.filter((path) => !path.includes("node_modules/"));
  expect(own.filter((path) => !/^app\/(dist\/|package\.json$|LICENSE$)/.test(path))).toEqual([]);
  expect(own.filter((path) => /\.test\./.test(path))).toEqual([]);
  const secret = /(^|\/)(\.npmrc|\.env[^/]*|\.git|id_[a-z0-9]+|[^/]*\.(key|p12|pfx))$/;
  expect(files.filter((path) => secret.test(path))).toEqual([]);
  // By path: a library may bring another version of what this repository has for development.
  const lock = JSON.parse(await readFile(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Readonly<Record<string, { readonly dev?: boolean }>>;
  };
  const tools = Object.entries(lock.packages).filter(([, { dev }]) => dev);
  expect(tools.length).toBeGreaterThan(50);
  const found = new Set(files.map((path) => path.replace(/^app\//, "")));
  expect(tools.filter(([path]) => found.has(`${path}/package.json`))).toEqual([]);
});

test("it has every package that its code imports", async () => {
  const installed = new Set(files.map((path) => path.split("/").slice(0, 4).join("/")));
  const missing = new Set<string>();
  for (const path of files) {
    if (!/^app\/dist\/.*\.js$/.test(path)) continue;
    const text = await readFile(join(image, path), "utf8");
    for (const [, name] of text.matchAll(/(?:^import|\bfrom|\bimport\() ?"([a-z@][\w@/:.-]*)"/gm)) {
      const [first = "", second = ""] = name!.split("/");
      const own = first.startsWith("@") ? `${first}/${second}` : first;
      const parts = own.split("/").length;
      const at = [...installed].some(
        (one) =>
          one
            .split("/")
            .slice(2, 2 + parts)
            .join("/") === own,
      );
      if (!isBuiltin(name!) && !at) missing.add(name!);
    }
  }
  expect([...missing]).toEqual([]);
});

test("its program runs from files that it cannot write", async () => {
  for (const path of ["app", "app/dist/cli", "app/dist/cli/main.js", "app/node_modules"]) {
    const at = join(image, path);
    await chmod(at, (await stat(at)).mode & 0o555);
  }
  const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
  expect(await runImage("version")).toMatchObject({
    status: 0,
    stdout: `${version}\n`,
    stderr: "",
  });
  const help = await runImage("control-plane", "--help");
  expect(help).toMatchObject({ status: 0, stderr: "" });
  expect(help.stdout).toContain("Usage: waystone control-plane");
  const manifests = await runImage("install", "--dry-run");
  expect(manifests).toMatchObject({ status: 0, stderr: "" });
  expect(manifests.stdout).toContain("kind: Deployment");
  // As far as a control plane gets without a cluster: its libraries are there.
  const alone = await runImage("control-plane", "--kubeconfig", "/nowhere", "--state", "/nowhere");
  expect(alone.stderr).toContain("[KUBERNETES_ACCESS_INVALID]");
  for (const path of ["app", "app/dist/cli", "app/node_modules"]) {
    const at = join(image, path);
    await chmod(at, (await stat(at)).mode | 0o200);
  }
});

test("it is small", async () => {
  let bytes = 0;
  for (const path of files) bytes += (await stat(join(image, path))).size;
  const megabytes = Math.round(bytes / 1e6);
  process.stderr.write(`image: ${megabytes} MB in ${files.length} files on top of its base\n`);
  expect(megabytes).toBeLessThan(100);
});
