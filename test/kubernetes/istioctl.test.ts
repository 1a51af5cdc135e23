/**
 * Istio's own command line against Waystone: `WAYSTONE_ISTIOCTL` names the program.
 */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/child-process.ts";
import { MeshUnderTest } from "./mesh-under-test.ts";
import { hasPodAddresses } from "./pod-runtime.ts";
import { isMissing } from "./toolchain.ts";

const ISTIOCTL = process.env.WAYSTONE_ISTIOCTL;
if (ISTIOCTL === undefined) console.log("istioctl: skipped, WAYSTONE_ISTIOCTL is not set");

const NAMESPACE = "kagenti-system";

describe.skipIf(ISTIOCTL === undefined || !hasPodAddresses || isMissing("istioctl"))(
  "istioctl",
  () => {
    let mesh: MeshUnderTest;

    /** What it prints; `SHOW=1` shows it. */
    const istioctl = (...args: readonly string[]): Promise<string> =>
      new Promise((resolve, reject) => {
        const env = { ...process.env, KUBECONFIG: mesh.cluster.kubeconfig, HOME: mesh.folder };
        execFile(ISTIOCTL!, args, { env, timeout: 110_000 }, (error, stdout, stderr) => {
          const text = stdout + stderr;
          if (process.env.SHOW) console.log(`$ istioctl ${args.join(" ")}\n${text}`);
          if (error) reject(new Error(`istioctl ${args.join(" ")}: ${text || error.message}`));
          else resolve(text);
        });
      });

    beforeAll(async () => {
      mesh = await MeshUnderTest.start();
      for (const file of ["namespace", "mlflow", "clients", "policy"]) {
        await mesh.cluster.kubectl(["apply", "-f", `examples/mlflow/${file}.yaml`]);
      }
    }, 180_000);

    afterAll(async () => {
      await mesh?.stop();
    }, 60_000);

    test("waypoint apply waits until the waypoint is programmed", async () => {
      const name = ["--name", "mlflow-waypoint", "-n", NAMESPACE];
      const said = await istioctl("waypoint", "apply", ...name, "--wait");
      expect(said).toMatch(/applied/);
      expect(await mesh.isProgrammed(NAMESPACE, "mlflow-waypoint")).toBe(true);
      const list = await istioctl("waypoint", "list", "-n", NAMESPACE);
      expect(list).toMatch(/mlflow-waypoint\s+default\s+\S+\s+True/);
      const status = await istioctl("waypoint", "status", "-n", NAMESPACE);
      expect(status).toMatch(/mlflow-waypoint.*True.*Programmed/);
    }, 120_000);

    test("proxy-status shows who is connected, in sync", async () => {
      const ps = () => istioctl("ps", "--xds-address", mesh.outside, "--insecure");
      const ready = async () => /mlflow-waypoint-\S+\.kagenti-system/.test(await ps());
      await until("the waypoint is listed", ready, 30_000).catch((caught: Error) => {
        throw new Error(`${caught.message}\n${mesh.text}`);
      });
      const text = await ps();
      expect(text).toMatch(/^NAME\s+CLUSTER\s+ISTIOD\s+VERSION\s+SUBSCRIBED TYPES/m);
      expect(text).toMatch(/ztunnel-node-1\.istio-system\s+Kubernetes\s+first\s+\S+\s+\d+/);
      const json = await istioctl("ps", "--xds-address", mesh.outside, "--insecure", "-o", "json");
      expect(json).toContain("SYNCED");
      expect(json).not.toContain("ERROR");
    }, 60_000);

    test("ztunnel-config reads our ztunnel's dump", async () => {
      const { host } = mesh.runtime.socksOf("node-1");
      const dump = await (await fetch(`http://${host}:15000/config_dump`)).text();
      const file = join(mesh.folder, "dump.json");
      await writeFile(file, dump);
      const workloads = await istioctl("ztunnel-config", "workload", "-f", file);
      expect(workloads).toMatch(
        /kagenti-system\s+mlflow-\S+\s+10\.244\.\d+\.\d+\s+node-\d\s+\S+\s+HBONE/,
      );
      const services = await istioctl("ztunnel-config", "service", "-f", file);
      expect(services).toMatch(/kagenti-system\s+mlflow\s+\S+\s+mlflow-waypoint\s+1\/1/);
      const certificates = await istioctl("ztunnel-config", "certificate", "-f", file);
      expect(certificates).toMatch(/sa\/mlflow\s+Leaf\s+Available\s+true\s+[\da-f]{8,}\s+20/);
      await istioctl("ztunnel-config", "policy", "-f", file);
      await istioctl("ztunnel-config", "all", "-f", file);
    }, 60_000);

    test("analyze warns of nothing", async () => {
      const said = await istioctl("analyze", "-n", NAMESPACE);
      expect(said).toMatch(/No validation issues found|^Info/);
      expect(said).not.toMatch(/^(Warning|Error)/m);
    }, 60_000);

    test("waypoint delete takes its objects with it", async () => {
      await istioctl("waypoint", "delete", "mlflow-waypoint", "-n", NAMESPACE);
      const left = async () =>
        (await mesh.cluster.kubectl(["get", "deploy,svc", "-n", NAMESPACE, "-o", "name"])).includes(
          "mlflow-waypoint",
        );
      await until("its objects are gone", async () => !(await left()), 30_000);
    }, 60_000);
  },
);
