/**
 * The Gateway API's conformance tests for gateways with a Service as parent, against real proxies:
 * the set gateway-api-rewritten.
 */
import { describe } from "vitest";
import { conformancePath } from "../../support/conformance.ts";
import { readFolders } from "./cases.ts";
import { testSet } from "./run-set.ts";

const root = conformancePath("gateway-api-rewritten");

describe.skipIf(root === undefined)("gateway-api-rewritten", () => {
  if (root === undefined) return;
  testSet(readFolders(root, "gateway-api-rewritten"), {
    waypointIn: ["gateway-conformance-infra"],
    enrolled: ["gateway-conformance-app-backend", "gateway-conformance-web-backend"],
  });
});
