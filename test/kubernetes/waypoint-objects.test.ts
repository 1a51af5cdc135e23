/**
 * What is generated for waypoints, judged by a real API server: each golden object is one that it
 * takes, field by field, and each Pod is one that a namespace with the standard `restricted` takes.
 */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { KubeObject } from "../../src/api/object.ts";
import { Cluster } from "./cluster.ts";
import { isMissing } from "./toolchain.ts";

const FOLDER = new URL("../fixtures/provision/", import.meta.url);

const NAMESPACE = `
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: { pod-security.kubernetes.io/enforce: restricted }
`;

function goldens(): readonly (readonly [string, readonly KubeObject[]])[] {
  return readdirSync(FOLDER).flatMap((situation) => {
    const text = readFileSync(new URL(`${situation}/objects.yaml`, FOLDER), "utf8");
    const objects = parseAllDocuments(text).map((one) => one.toJS() as KubeObject);
    return objects[0]?.kind === undefined ? [] : [[situation, objects] as const];
  });
}

interface Deployment {
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: { readonly serviceAccountName: string };
    };
  };
}

describe.skipIf(isMissing("waypoint objects"))("waypoint objects", () => {
  let cluster: Cluster;
  const dryRun = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
  const taken = async (objects: readonly object[]) => {
    const list = { apiVersion: "v1", kind: "List", items: objects };
    await cluster.kubectl(dryRun, JSON.stringify(list));
  };

  beforeAll(async () => {
    cluster = await Cluster.start();
    await cluster.apply(NAMESPACE);
    for (const name of ["waypoint", "shop-proxy", "shop.waypoint"]) {
      await cluster.kubectl(["create", "serviceaccount", name, "-n", "shop"]);
    }
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  test.each(goldens())("%s is taken", async (_situation, objects) => {
    await taken(objects);
  });

  test.each(goldens())("%s has a Pod that is `restricted`", async (situation, objects) => {
    const deployment = objects.find(({ kind }) => kind === "Deployment");
    const { template } = (deployment as unknown as Deployment).spec;
    const metadata = { ...template.metadata, name: "instance", namespace: "shop" };
    const pod = { apiVersion: "v1", kind: "Pod", ...template, metadata };
    if (!readFileSync(new URL(`${situation}/input.yaml`, FOLDER), "utf8").includes("containers:")) {
      await taken([pod]);
      return;
    }
    // An overlay may say otherwise.
    await taken([pod]).catch((caught: Error) => expect(caught.message).toContain("restricted"));
  });
});
