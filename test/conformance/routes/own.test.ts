/** The project's own cases of routes against real proxies: what `own/` says. */
import { join } from "node:path";
import { afterAll, describe } from "vitest";
import { Greeters } from "./greeters.ts";
import { readOwnSet } from "./own-cases.ts";
import { testSet } from "./run-set.ts";

const TLS_PORT = 9443;

describe("own", async () => {
  const set = readOwnSet(join(import.meta.dirname, "own"));
  const greeters = await Greeters.withTls();
  const overrides = await greeters.start(set.base, [TLS_PORT]);
  testSet(set, { overrides });
  afterAll(() => greeters.stop());
});
