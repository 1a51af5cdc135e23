/** Every file of examples/ is accepted, and refers to nothing that does not exist. */
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { examine } from "../src/cli/commands/validate.ts";
import { loadRequests } from "../src/cli/demo.ts";

for (const name of readdirSync("examples")) {
  test(`examples/${name} has nothing to complain about`, async () => {
    const { objects, diagnostics } = await examine([`examples/${name}`]);
    expect(diagnostics).toEqual([]);
    expect(objects).toBeGreaterThan(0);
  });

  test(`examples/${name} has requests to show`, async () => {
    expect((await loadRequests([`examples/${name}`])).length).toBeGreaterThan(0);
  });
}
