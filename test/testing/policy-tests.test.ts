/**
 * The library for tests of policies, as its users run it: the example in both runners, and what
 * they print when a rule is not what the tests expect.
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { assertAllowed, loadMesh } from "../../src/testing/testing.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const EXAMPLE = join(ROOT, "examples/policy-tests");
let folder = "";

/** Within the package, whose name the example imports. */
beforeEach(() => {
  folder = mkdtempSync(join(ROOT, "dist/policy-tests-"));
  cpSync(EXAMPLE, folder, { recursive: true });
  writeFileSync(join(folder, "vitest.config.mjs"), "export default {};\n");
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Checkout may no longer post, and the first rule allows what no test asks for. */
function mutate(): void {
  const file = join(folder, "policies.yaml");
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replace("[GET]", "[HEAD]").replace("[POST, DELETE]", "[DELETE]"));
}

const RUNNERS = {
  "node:test": () => ["--test", join(folder, "policies.node.mjs")],
  vitest: () => [join(ROOT, "node_modules/vitest/vitest.mjs"), "run", "--root", folder],
};

function run(args: readonly string[]) {
  const env = { ...process.env, NO_COLOR: "1", NODE_OPTIONS: "", NODE_TEST_CONTEXT: undefined };
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: ROOT,
    env,
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, text: stdout + stderr };
}

describe.each(Object.entries(RUNNERS))("%s", (_, args) => {
  test("runs the example", () => {
    const { status, text } = run(args());
    expect(text).toMatch(/pass(?:ed)?/);
    expect(status).toBe(0);
  });

  test("names file, line and rule when a rule is another", () => {
    mutate();
    const { status, text } = run(args());
    expect(status).not.toBe(0);
    expect(text).toContain("expected the request to be allowed, and it is denied");
    expect(text).toMatch(
      /shop\/cart rule 0 \(\S*policies\.yaml:7:7\): method: wanted HEAD, saw GET/,
    );
    expect(text).toMatch(
      /shop\/cart rule 1 \(\S*policies\.yaml:9:7\): method: wanted DELETE, saw POST/,
    );
    expect(text).toContain("DENIED 403 by default: no ALLOW policy matched");
  });
});

describe("loadMesh()", () => {
  test("tells which rules decided nothing", async () => {
    const mesh = await loadMesh(EXAMPLE);
    expect(mesh.uncoveredRules().map(({ policy, rule }) => `${policy} ${rule}`)).toEqual([
      "shop/cart 0",
      "shop/cart 1",
      "shop/no-deletes 0",
    ]);
    mesh.request({ from: "shop/web", to: "cart.shop" });
    mesh.request({ from: "shop/web", to: "cart.shop", method: "DELETE" });
    const left = mesh.uncoveredRules();
    expect(left).toHaveLength(1);
    expect(left[0]!.place).toMatch(/policies\.yaml:9:7$/);
  });

  test("takes claims for verified, and verifies a token", async () => {
    const mesh = await loadMesh(EXAMPLE);
    const result = mesh.request({ from: "shop/web", to: "cart.shop", jwt: { iss: "a", sub: "b" } });
    expect(result).toMatchObject({ isAllowed: true, by: "shop/cart", rule: 0 });
  });

  test("refuses manifests that do not parse, with their place", async () => {
    writeFileSync(join(folder, "policies.yaml"), "apiVersion: v1\nkind: Service\nspec: {}\n");
    await expect(loadMesh(folder)).rejects.toThrow(/WS0005.*policies\.yaml:\d+:\d+/s);
  });

  test("says what it does not know, and what is near", async () => {
    const mesh = await loadMesh(EXAMPLE);
    expect(() => mesh.request({ from: "shop/chekout", to: "cart.shop" })).toThrow(/no workload/);
    expect(() => mesh.request({ from: "shop/web", to: "cat.shop" })).toThrow(/no service/);
    const denied = mesh.request({ from: "192.0.2.7", to: "cart.shop" });
    expect(() => assertAllowed(denied)).toThrow(/expected the request to be allowed/);
  });
});
