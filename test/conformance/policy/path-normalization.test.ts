import { expect, test } from "vitest";
import { normalizePath, type PathNormalization } from "../../../src/net/path.ts";
import { conformanceJson } from "../../support/conformance.ts";

interface Case {
  group: string;
  normalization: PathNormalization;
  path: string;
  backendPath?: string;
  statusCodes?: number[];
}

const set = conformanceJson<{ cases: Case[] }>("path-normalization", "cases.json");

test.skipIf(set === undefined)("normalizePath() agrees with Istio's and Envoy's table", () => {
  const failed: unknown[] = [];
  for (const { normalization, path, backendPath, statusCodes, group } of set!.cases) {
    // A client never sends the fragment.
    const sent = path.split("#")[0]!;
    const [bare = ""] = sent.split("?");
    const got = normalizePath(bare, normalization);
    const want = statusCodes ? undefined : backendPath?.split("?")[0];
    if (got !== want) failed.push({ group, sent, got, want });
  }
  expect(failed).toEqual([]);
});
