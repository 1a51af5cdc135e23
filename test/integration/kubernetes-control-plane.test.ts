/** `waystone control-plane` on the objects of a cluster. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { run } from "../../src/cli/program.ts";
import { setLogLevel } from "../../src/kit/log.ts";
import { ControlPlaneProcess } from "../../src/process/control-plane-process.ts";
import { generateMesh } from "../support/generated-mesh.mjs";
import { type ClusterRig, clusterRig } from "../support/kubernetes-source.ts";
import { meshAddresses } from "../support/process-mesh.ts";

setLogLevel(process.env.WAYSTONE_LOG_LEVEL ?? "silent");

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const mesh = generateMesh({ services: 2, podsPerService: () => 1 });

async function rigOf(): Promise<ClusterRig> {
  const rig = await clusterRig((end) => ends.push(end));
  for (const { value } of mesh.objects) rig.api.put(value);
  return rig;
}

async function startProcess(rig: ClusterRig, signal?: AbortSignal) {
  const stateDirectory = await mkdtemp(join(tmpdir(), "waystone-control-"));
  ends.push(() => rm(stateDirectory, { recursive: true }));
  const host = meshAddresses().controlPlane;
  const starting = ControlPlaneProcess.start({
    version: "0",
    objects: rig.source(),
    stateDirectory,
    at: { host, port: 0 },
    serverNames: [],
    trustedNodeAccounts: [],
    admin: { host, port: 15000 },
    metrics: { host, port: 15014 },
    readiness: { host, port: 8080 },
    drainDelayMs: 0,
    drainTimeoutMs: 1_000,
    onEvent: () => {},
    onQuit: () => {},
    ...(signal === undefined ? {} : { signal }),
  });
  const started = starting.then((running) => {
    ends.push(() => running.stop());
    return running;
  });
  const readiness = () => fetch(`http://${host}:8080/healthz/ready`);
  const services = async () => {
    const dump = await fetch(`http://${host}:15000/config_dump`);
    return (await dump.text()).match(/"svc-\d+\.ns-0\.svc\.cluster\.local"/g) ?? [];
  };
  return { started, readiness, services };
}

test("it is ready when everything is read, and serves what changes", async () => {
  const rig = await rigOf();
  await rig.api.stop();
  const { started, readiness, services } = await startProcess(rig);
  await expect
    .poll(() =>
      readiness().then(
        ({ status }) => status,
        () => 0,
      ),
    )
    .toBe(503);
  expect(await (await readiness()).text()).toContain("have not been read yet");
  await rig.api.listen();
  await started;
  expect((await readiness()).status).toBe(200);
  expect(await services()).toContain('"svc-1.ns-0.svc.cluster.local"');
  const [service] = mesh.objects.filter(({ kind }) => kind === "Service").slice(-1);
  const metadata = { ...service!.value.metadata, name: "svc-7" };
  rig.api.put({ ...service!.value, metadata });
  await expect.poll(services).toContain('"svc-7.ns-0.svc.cluster.local"');
});

test("a start that waits for the API server can be given up", async () => {
  const rig = await rigOf();
  await rig.api.stop();
  const giveUp = new AbortController();
  const { started, readiness } = await startProcess(rig, giveUp.signal);
  await expect
    .poll(() =>
      readiness().then(
        ({ status }) => status,
        () => 0,
      ),
    )
    .toBe(503);
  giveUp.abort();
  await expect(started).rejects.toMatchObject({ code: "KUBERNETES_UNAVAILABLE" });
});

test("objects come from files or from a cluster: one of the two is named", async () => {
  const call = async (...args: string[]) => {
    const said: string[] = [];
    const say = (text: string) => void said.push(text);
    const code = await run(["control-plane", ...args], { print: say, say });
    return { code, text: said.join("\n") };
  };
  expect(await call()).toMatchObject({ code: 64, text: expect.stringContaining("--kubernetes") });
  expect(await call("-f", ".", "--kubernetes")).toMatchObject({ code: 64 });
  expect(await call("-f", ".", "--context", "c")).toMatchObject({ code: 64 });
  const ports = ["--address", "--admin-address", "--metrics-address", "--readiness-address"];
  const free = ports.flatMap((option) => [option, "127.0.0.1:0"]);
  const { code, text } = await call("--kubeconfig", "/nowhere/config", ...free);
  expect(code).toBe(1);
  expect(text).toContain("KUBERNETES_ACCESS_INVALID");
  expect(text).toContain("/nowhere/config");
});
