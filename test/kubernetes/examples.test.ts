/** `kubectl apply` of every example: accepted as it is by the real schemas and their rules. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { examine } from "../../src/cli/commands/validate.ts";
import { Cluster } from "./cluster.ts";
import { Kubelet } from "./kubelet.ts";
import { isMissing } from "./toolchain.ts";

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

  test.each(readdirSync("examples"))("examples/%s", async (name) => {
    const folder = join("examples", name);
    // kubectl goes by the names of the files, and a namespace has to be there before what is in it.
    const namespace = join(folder, "namespace.yaml");
    if (existsSync(namespace)) await cluster.kubectl(["apply", "-f", namespace]);
    const applied = (await cluster.kubectl(["apply", "-f", folder])).trim().split("\n");
    const { objects } = await examine([folder]);
    expect(applied).toHaveLength(objects);
  });
});
