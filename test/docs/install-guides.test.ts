/**
 * The guides to Kubernetes hold: their commands are ones that there are, what can run without a
 * cluster runs, their manifests and values are valid, and their links lead somewhere.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { examine } from "../../src/cli/commands/validate.ts";
import { checkValues, overlaid, usualValues } from "../../src/cli/install/values.ts";
import { buildProgram, run } from "../../src/cli/program.ts";

const DOCS = fileURLToPath(new URL("../../docs/guides/", import.meta.url));
const CLUSTER = fileURLToPath(new URL("../fixtures/guides/cluster.yaml", import.meta.url));
const GUIDES = ["install-on-kubernetes.md", "from-istio-waypoint.md"];

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "waystone-guides-"));
  await copyFile(CLUSTER, join(folder, "cluster.yaml"));
  await writeFile(join(folder, "mesh.yaml"), "meshConfig:\n  trustDomain: example.org\n");
});
afterAll(() => rm(folder, { recursive: true }));

/** Of one language; those in lists are indented. */
function blocks(text: string, language: string): string[] {
  const found = text.matchAll(/^( *)```(\w+)\n([\s\S]*?)\n\1```$/gm);
  return [...found].flatMap(([, indent = "", name, body = ""]) =>
    name === language ? [body.replaceAll(new RegExp(`^${indent}`, "gm"), "")] : [],
  );
}

function commands(text: string, program: string): string[][] {
  return blocks(text, "sh")
    .flatMap((block) => block.split("\n"))
    .filter((line) => line.startsWith(`${program} `))
    .map((line) => line.split(/\s+/).slice(1));
}

async function call(args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const output = {
    print: (text: string) => void out.push(text),
    say: (text: string) => void err.push(text),
  };
  const code = await run(args, output);
  return { code, out: out.join("\n"), err: err.join("\n") };
}

/** A guide's file is in the folder. */
const inFolder = (args: readonly string[]) =>
  args.map((arg) => (arg.endsWith(".yaml") ? join(folder, arg) : arg));

describe.each(GUIDES)("%s", (name) => {
  const text = readFileSync(join(DOCS, name), "utf8");

  test("its commands are ones that there are", () => {
    const all = commands(text, "waystone");
    expect(all.length).toBeGreaterThan(3);
    const program = buildProgram({ print: () => {}, say: () => {} }, () => {});
    for (const [command = "", ...options] of all) {
      const found = program.commands.find((one) => one.name() === command);
      const parsed = found?.parseOptions(options);
      // What is waited for is named; nothing else of these commands is.
      const operands = command === "wait" ? [expect.stringMatching(/^\w+\/\w+$/)] : [];
      expect(parsed, command).toEqual({ operands, unknown: [] });
    }
  });

  test("its installations can be made", async () => {
    const own = commands(text, "waystone").filter(([command]) => command === "install");
    const helms = commands(text, "helm").filter(([command]) => command === "install");
    for (const [, release, chart] of helms) {
      expect(release).toBe("waystone");
      expect(existsSync(new URL(`../../${chart}/Chart.yaml`, import.meta.url))).toBe(true);
    }
    const asOurs = helms.map(([command = "", , , ...options]) =>
      [command, ...options].filter((option) => option !== "--create-namespace"),
    );
    expect(own.length).toBeGreaterThan(0);
    for (const args of [...own, ...asOurs]) {
      const { code, out, err } = await call([...inFolder(args), "--dry-run"]);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      expect(out).toContain("kind: Deployment");
    }
  });

  test("its manifests and values are valid", async () => {
    for (const block of blocks(text, "yaml")) {
      const value = parse(block) as { kind?: string };
      if (value.kind === undefined) {
        checkValues(overlaid(usualValues(), value));
        continue;
      }
      const path = join(folder, "manifest.yaml");
      const namespace = "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n";
      await writeFile(path, `${block}\n---\n${namespace}`);
      expect((await examine([path])).diagnostics).toEqual([]);
      expect(parseAllDocuments(block).length).toBe(1);
    }
  });

  test("its links lead somewhere", () => {
    const links = [...text.matchAll(/\]\(([^)#]*)(?:#([^)]+))?\)/g)];
    expect(links.length).toBeGreaterThan(2);
    for (const [, target = "", anchor] of links) {
      const path = target === "" ? join(DOCS, name) : join(DOCS, target);
      expect(existsSync(path), target).toBe(true);
      if (anchor === undefined) continue;
      const headings = readFileSync(path, "utf8").matchAll(/^#+ (.+)$/gm);
      const slugs = [...headings].map(([, heading = ""]) =>
        heading
          .toLowerCase()
          .replace(/[^\w\- ]/g, "")
          .replaceAll(" ", "-"),
      );
      expect(slugs).toContain(anchor);
    }
  });
});

test("what explain says before the switch is what the guide promises", async () => {
  const text = readFileSync(join(DOCS, "from-istio-waypoint.md"), "utf8");
  const lines = blocks(text, "sh").flatMap((block) => block.split("\n"));
  const sed = lines.find((line) => line.startsWith("sed "))!;
  expect(spawnSync("sh", ["-c", sed], { cwd: folder }).status).toBe(0);
  const asked = commands(text, "waystone").filter(([command]) => command === "explain");
  expect(asked.length).toBe(2);
  const [get, remove] = await Promise.all(asked.map((args) => call(inFolder(args))));
  expect(get).toMatchObject({ code: 0, out: expect.stringContaining("waypoint shop/waystone") });
  expect(get!.out).toContain("ALLOWED by shop/readers");
  expect(remove).toMatchObject({ code: 1, out: expect.stringContaining("DENIED 403") });
});
