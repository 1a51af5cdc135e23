/** Before all tests, and without their time limits: builds Kubernetes where it is not built yet. */

import { hasGo } from "./go.ts";
import { findHelm, makeHelm } from "./helm.ts";
import { findToolchain, makeToolchain } from "./toolchain.ts";

export async function setup(): Promise<void> {
  if ("missing" in findToolchain() && hasGo()) await makeToolchain();
  if (typeof findHelm() === "string" || !hasGo()) return;
  // Its tests are skipped without it; the others need it not.
  await makeHelm().catch((caught: Error) => process.stderr.write(`${caught.message}\n`));
}
