/** `kubectl apply` of every example: accepted as it is by the real schemas and their rules. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { examine } from "../../src/cli/commands/validate.ts";
import { Cluster } from "./cluster.ts";
import { Kubelet } from "./kubelet.ts";
import { isMissing } from "./toolchain.ts";

/** A mesh of processes, whose Services have loopback addresses: it is for files alone. */
const ON_ONE_MACHINE = "processes";

describe.skipIf(isMissing("examples"))("examples", () => {
  let cluster: Cluster;
  let kubelet: Kubelet;

  beforeAll(async () => {
    cluster = await Cluster.start();
    kubelet = await Kubelet.start(cluster.api);
  });

  afterAll(async () => {
    await kubelet?.stop();
    await cluster?.stop();
  });

  const applicable = readdirSync("examples").filter((name) => name !== ON_ONE_MACHINE);
  test.each(applicable)("examples/%s", async (name) => {
    const folder = join("examples", name);
    // kubectl goes by the names of the files, and a namespace has to be there before what is in it.
    const namespace = join(folder, "namespace.yaml");
    if (existsSync(namespace)) await cluster.kubectl(["apply", "-f", namespace]);
    const applied = (await cluster.kubectl(["apply", "-f", folder])).trim().split("\n");
    const { objects } = await examine([folder]);
    expect(applied).toHaveLength(objects);
  });

  test(`examples/${ON_ONE_MACHINE}: only its addresses are refused`, async () => {
    const apply = cluster.kubectl(["apply", "-f", join("examples", ON_ONE_MACHINE)]);
    const message = await apply.then(() => "", String);
    expect(message.match(/is invalid: .*/g)).toEqual([
      expect.stringContaining("failed to allocate IP 127.81.0.11"),
      expect.stringContaining("failed to allocate IP 127.81.0.12"),
    ]);
  });
});
