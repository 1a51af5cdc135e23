/**
 * The Gateway API's conformance tests for meshes against real proxies: the set gateway-api-mesh.
 */
import { describe } from "vitest";
import { conformancePath } from "../../support/conformance.ts";
import { readFolders } from "./cases.ts";
import { testSet } from "./run-set.ts";

const root = conformancePath("gateway-api-mesh");

describe.skipIf(root === undefined)("gateway-api-mesh", () => {
  if (root === undefined) return;
  testSet(readFolders(root, "gateway-api-mesh"), {
    waypointIn: ["gateway-conformance-mesh"],
    enrolled: ["gateway-conformance-mesh-consumer"],
  });
});
