/**
 * Each folder is a mistake that people make: `manifests.yaml` with it, and `case.yaml` with the
 * diagnostic that names it and requests that go wrong because of it. The remedy is followed as it
 * is printed; then the requests come out as was meant, and the diagnostic is gone.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { type Diagnostic, formatDiagnostic } from "../../src/kit/diagnostic.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import { loadManifests } from "../support/loaded-manifests.ts";
import { applyEdits, readRemedy } from "../support/printed-remedy.ts";
import { type SimulatedRequest, simulate } from "../support/simulated-request.ts";

interface Case {
  readonly diagnostic: {
    readonly code: string;
    readonly object: string;
    readonly path?: string;
    /** `<line>:<column>`. */
    readonly at: string;
    readonly says: string;
  };
  readonly requests: readonly (SimulatedRequest & {
    readonly before: "allowed" | "denied";
    readonly after: "allowed" | "denied";
  })[];
}

const FOLDER = new URL(".", import.meta.url).pathname;
const mistakes = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

describe.each(mistakes)("%s", (mistake) => {
  const manifests = readFileSync(join(FOLDER, mistake, "manifests.yaml"), "utf8");
  const wanted = parse(readFileSync(join(FOLDER, mistake, "case.yaml"), "utf8")) as Case;

  test("is found, named and placed", async () => {
    const { diagnostics } = await loadManifests(manifests);
    const found = theOne(diagnostics, wanted);
    expect(found.path).toBe(wanted.diagnostic.path);
    expect(`${found.line}:${found.column}`).toBe(wanted.diagnostic.at);
    expect(found.message).toContain(wanted.diagnostic.says);
  });

  test("is put right by its remedy as printed", async () => {
    const { diagnostics, snapshot } = await loadManifests(manifests);
    expect(wanted.requests.length).toBeGreaterThan(0);
    for (const request of wanted.requests) expectOutcome(snapshot, request, request.before);
    const found = theOne(diagnostics, wanted);
    const edits = readRemedy(found.message, found.object!);
    expect(edits).toEqual(found.remedy);
    const mended = await loadManifests(applyEdits(manifests, edits));
    for (const request of wanted.requests) expectOutcome(mended.snapshot, request, request.after);
    expect(mended.diagnostics.map(formatDiagnostic)).toEqual([]);
  });
});

function theOne(diagnostics: readonly Diagnostic[], { diagnostic }: Case): Diagnostic {
  const found = diagnostics.filter(
    ({ code, object }) => code === diagnostic.code && object === diagnostic.object,
  );
  expect(found.length, diagnostics.map(formatDiagnostic).join("\n")).toBe(1);
  return found[0]!;
}

function expectOutcome(
  snapshot: Snapshot,
  request: SimulatedRequest,
  wanted: "allowed" | "denied",
): void {
  const { isAllowed, at } = simulate(snapshot, request);
  const { method, path, from, to } = request;
  expect(`${method} ${to}${path} from ${from}: ${isAllowed ? "allowed" : "denied"}`, at).toBe(
    `${method} ${to}${path} from ${from}: ${wanted}`,
  );
}
