/**
 * Each folder is a mistake that people make: `manifests.yaml` with it, and `case.yaml` with the
 * diagnostic that names it and requests that go wrong because of it. The remedy is followed as it
 * is printed; then the requests come out as was meant, and the diagnostic is gone.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { type Diagnostic, formatDiagnostic } from "../../src/kit/diagnostic.ts";
import { AddressPlan } from "../../src/local/addresses.ts";
import { localConfiguration } from "../../src/local/cluster.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
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

let scratch = "";
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "waystone-diagnostics-"));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe.each(mistakes)("%s", (mistake) => {
  const manifests = readFileSync(join(FOLDER, mistake, "manifests.yaml"), "utf8");
  const wanted = parse(readFileSync(join(FOLDER, mistake, "case.yaml"), "utf8")) as Case;

  test("is found, named and placed", async () => {
    const { diagnostics } = await load(manifests);
    const found = theOne(diagnostics, wanted);
    expect(found.path).toBe(wanted.diagnostic.path);
    expect(`${found.line}:${found.column}`).toBe(wanted.diagnostic.at);
    expect(found.message).toContain(wanted.diagnostic.says);
  });

  test("is put right by its remedy as printed", async () => {
    const { diagnostics, snapshot } = await load(manifests);
    expect(wanted.requests.length).toBeGreaterThan(0);
    for (const request of wanted.requests) expectOutcome(snapshot, request, request.before);
    const found = theOne(diagnostics, wanted);
    const edits = readRemedy(found.message, found.object!);
    expect(edits).toEqual(found.remedy);
    const mended = await load(applyEdits(manifests, edits));
    for (const request of wanted.requests) expectOutcome(mended.snapshot, request, request.after);
    const left = mended.diagnostics.filter(({ code }) => code === wanted.diagnostic.code);
    expect(left.map(formatDiagnostic)).toEqual([]);
    const before = new Set(diagnostics.map(({ code }) => code));
    const added = mended.diagnostics.filter(({ code }) => !before.has(code));
    expect(added.map(formatDiagnostic), "nothing else has gone wrong").toEqual([]);
  });
});

async function load(text: string): Promise<{ diagnostics: readonly Diagnostic[]; snapshot: Snapshot }> {
  const file = join(scratch, "manifests.yaml");
  writeFileSync(file, text);
  const configuration = localConfiguration([file], new AddressPlan("addresses"));
  try {
    const objects = await configuration.load();
    expect(objects, configuration.diagnostics.map(formatDiagnostic).join("\n")).not.toBe(false);
    return { diagnostics: configuration.diagnostics, snapshot: configuration.control.current };
  } finally {
    configuration.close();
  }
}

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
