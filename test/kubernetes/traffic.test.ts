/**
 * From `kubectl apply` of the examples to their traffic, with the verdicts that they promise; and
 * what becomes of it when a control plane ends.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/cli/program.ts";
import { until } from "../support/child-process.ts";
import { type Asked, MeshUnderTest } from "./mesh-under-test.ts";
import { hasPodAddresses } from "./pod-runtime.ts";
import { isMissing } from "./toolchain.ts";

if (!hasPodAddresses) {
  const way = "run `npm run test:kubernetes`, as root or where user namespaces may be made";
  console.log(`traffic: skipped, no addresses for Pods here; ${way}`);
}

const EXAMPLES = [
  { name: "mlflow", namespace: "kagenti-system", waypoint: "mlflow-waypoint" },
  { name: "bookinfo", namespace: "bookinfo", waypoint: "bookinfo-waypoint" },
];

/** The lines of an example's requests.txt. */
function promised(
  name: string,
  namespace: string,
): readonly (Asked & { readonly status: number })[] {
  const lines = readFileSync(join("examples", name, "requests.txt"), "utf8").split("\n");
  return lines
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [from = "", method = "", url = "", status] = line.split(/ +/);
      const { hostname: service, port, pathname: path } = new URL(url);
      return { from, namespace, method, service, port: Number(port), path, status: Number(status) };
    });
}

const READ: Asked = {
  from: "kagenti-ui",
  namespace: "kagenti-system",
  method: "GET",
  service: "mlflow",
  port: 5000,
  path: "/",
};

describe.skipIf(!hasPodAddresses || isMissing("traffic"))("traffic", () => {
  let mesh: MeshUnderTest;

  beforeAll(async () => {
    mesh = await MeshUnderTest.start();
  }, 120_000);

  afterAll(async () => {
    await mesh?.stop();
  });

  test.each(EXAMPLES)(
    "examples/$name does what it promises",
    async ({ name, namespace, waypoint }) => {
      const { cluster } = mesh;
      const folder = join("examples", name);
      const file = join(folder, "namespace.yaml");
      if (existsSync(file)) await cluster.kubectl(["apply", "-f", file]);
      await cluster.kubectl(["apply", "-f", folder]);
      const isReady = () => mesh.isProgrammed(namespace, waypoint);
      await until(`${waypoint} is programmed`, isReady, 60_000).catch((caught: Error) => {
        throw new Error(`${caught.message}\n${mesh.text}`);
      });
      const lines = promised(name, namespace);
      expect(lines.length).toBeGreaterThan(3);
      for (const { status, ...asked } of lines) {
        await expect.poll(() => mesh.ask(asked), { timeout: 30_000 }).toBe(status);
      }
      // None of them was only so for a moment.
      for (const { status, ...asked } of lines) expect(await mesh.ask(asked)).toBe(status);
    },
    120_000,
  );

  test("what `wait` has waited for is in force, at every proxy", async () => {
    await mesh.startControlPlane("second");
    const { cluster } = mesh;
    const policy = ["authorizationpolicy/mlflow-api-access", "-n", READ.namespace];
    const asked = ["-n", READ.namespace, "--kubeconfig", cluster.kubeconfig, ...mesh.monitoring];
    const said = async (...args: readonly string[]) => {
      const out: string[] = [];
      const lines = (text: string) => void out.push(text);
      const code = await run([...args, ...asked], { print: lines, say: lines });
      return { code, text: out.join("\n") };
    };
    for (const action of ["DENY", "ALLOW", "DENY", "ALLOW"]) {
      const patch = JSON.stringify({ spec: { action } });
      await cluster.kubectl(["patch", ...policy, "--type", "merge", "-p", patch]);
      const waited = await said("wait", "--for=enforced", "policy/mlflow-api-access");
      expect(waited).toEqual({ code: 0, text: expect.stringMatching(/enforced by 1 proxy/) });
      // At once, and not only soon.
      expect(await mesh.ask(READ)).toBe(action === "ALLOW" ? 200 : 403);
    }
    const { text } = await said("status");
    expect(text).toMatch(/AuthorizationPolicy \S+mlflow-api-access +1\/1/);
    const never = await said("wait", "policy/nobody", "--timeout", "1s");
    expect(never).toEqual({ code: 1, text: expect.stringMatching(/nobody.*not found/) });
  }, 120_000);

  test("a second control plane takes over within the lease, and policy goes on", async () => {
    await mesh.killControlPlane("first");
    const startMs = performance.now();
    // The proxies have another control plane at once; statuses have to wait for the lease.
    await mesh.cluster.kubectl(["delete", "-f", join("examples", "mlflow", "policy.yaml")]);
    const batch = { ...READ, from: "batch-job" };
    await expect.poll(() => mesh.ask(batch), { timeout: 10_000 }).toBe(200);
    await mesh.cluster.kubectl(["apply", "-f", join("examples", "mlflow", "policy.yaml")]);
    await expect.poll(() => mesh.ask(batch), { timeout: 10_000 }).toBe(403);
    expect(await mesh.ask(READ)).toBe(200);
    const holder = async () =>
      (
        await mesh.cluster.get<{ spec: { holderIdentity: string } }>(
          ...(["lease", "waystone-leader", "-n", "istio-system"] as const),
        )
      ).spec.holderIdentity;
    await expect.poll(holder, { timeout: 25_000 }).toMatch(/^second_/);
    expect(performance.now() - startMs).toBeLessThan(25_000);
  }, 120_000);

  test("without any control plane traffic goes on as it was", async () => {
    await mesh.killControlPlane("second");
    for (let i = 0; i < 10; i++) expect(await mesh.ask(READ)).toBe(200);
    expect(await mesh.ask({ ...READ, from: "batch-job" })).toBe(403);
    await mesh.startControlPlane("third");
    await expect.poll(() => mesh.ask(READ), { timeout: 10_000 }).toBe(200);
  }, 120_000);
});
