/** Manifests as `waystone validate` reads them: what is wrong with them, and the mesh they make. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Diagnostic, formatDiagnostic } from "../../src/kit/diagnostic.ts";
import { AddressPlan } from "../../src/local/addresses.ts";
import { localConfiguration } from "../../src/local/cluster.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";

export interface LoadedManifests {
  readonly diagnostics: readonly Diagnostic[];
  readonly snapshot: Snapshot;
}

/** Throws what is wrong when the text cannot be used at all. */
export async function loadManifests(text: string): Promise<LoadedManifests> {
  const folder = mkdtempSync(join(tmpdir(), "waystone-manifests-"));
  const file = join(folder, "manifests.yaml");
  writeFileSync(file, text);
  const configuration = localConfiguration([file], new AddressPlan("addresses"));
  try {
    if ((await configuration.load()) === false) {
      throw new Error(configuration.diagnostics.map(formatDiagnostic).join("\n"));
    }
    return { diagnostics: configuration.diagnostics, snapshot: configuration.control.current };
  } finally {
    configuration.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
