/**
 * Text of a file → objects of the mesh's kinds, or what is wrong with it.
 */
import { type Diagnostic, diagnostic } from "../kit/diagnostic.ts";
import { nearest } from "../kit/nearest.ts";
import { isBuiltIn, KINDS, type Kind, type KindName, kindOf } from "./kinds.ts";
import type { KubeObject, ParsedObject } from "./object.ts";
import { loadSchemas, schemaDiagnostics } from "./schema.ts";
import { ruleDiagnostics } from "./validate/rules.ts";
import { parseYaml, type RawObject } from "./yaml.ts";

export interface ReadObjects {
  /** All that have their kind's form, whatever else is wrong with them. */
  readonly objects: readonly ParsedObject[];
  /** With one that is refusing (`isRefusing`) the file is not to be used. */
  readonly diagnostics: readonly Diagnostic[];
}

export async function readObjects(text: string, file: string): Promise<ReadObjects> {
  const parsed = parseYaml(text, file);
  const diagnostics = [...parsed.diagnostics];
  const known: { raw: RawObject; kind: KindName; label: string }[] = [];
  for (const raw of parsed.objects) {
    const identified = identify(raw);
    if ("diagnostic" in identified) diagnostics.push(identified.diagnostic);
    else known.push({ raw: withoutNulls(raw, identified.kind), ...identified });
  }
  await loadSchemas(new Set(known.map(({ kind }) => kind)));
  const objects: ParsedObject[] = [];
  for (const { raw, kind, label } of known) {
    const problems = schemaDiagnostics(kind, raw, label);
    diagnostics.push(...problems);
    if (problems.length > 0) continue;
    diagnostics.push(...ruleDiagnostics(kind, raw, label));
    objects.push(parsedObject(raw, kind));
  }
  return { objects, diagnostics };
}

function parsedObject(raw: RawObject, kind: KindName): ParsedObject {
  const { position, positionOf } = raw;
  return { kind, value: withNamespace(raw.value as KubeObject, KINDS[kind]), position, positionOf };
}

/** As `kubectl apply` without `-n`: what stands in a namespace and names none stands in `default`. */
function withNamespace(value: KubeObject, kind: Kind): KubeObject {
  const { namespace, ...metadata } = value.metadata;
  if (!kind.isNamespaced) return namespace === undefined ? value : { ...value, metadata };
  if (namespace) return value;
  return { ...value, metadata: { ...metadata, namespace: "default" } };
}

/** A field that is null is absent: in Kubernetes' own kinds, and in everything's metadata. */
function withoutNulls(raw: RawObject, kind: KindName): RawObject {
  if (!hasNull(raw.value)) return raw;
  if (isBuiltIn(kind)) return { ...raw, value: pruned(raw.value) };
  const value = raw.value as KubeObject;
  return { ...raw, value: { ...value, metadata: pruned(value.metadata) } };
}

function hasNull(value: unknown): boolean {
  if (typeof value !== "object") return false;
  return value === null || Object.values(value).some(hasNull);
}

/** Items of lists stay, or the others would be counted differently from what people see. */
function pruned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(pruned);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(([, inner]) => inner !== null);
  return Object.fromEntries(kept.map(([name, inner]) => [name, pruned(inner)]));
}

/** Files of Istio's installer: mesh settings, in a form that a cluster never sees. */
const SETTINGS_KINDS = new Set(["IstioOperator", "MeshConfig"]);
const SETTINGS_PLACE =
  "mesh settings come from the ConfigMap istio of the root namespace (key mesh)";

function identify(raw: RawObject): { kind: KindName; label: string } | { diagnostic: Diagnostic } {
  const { apiVersion, kind, metadata } = (raw.value ?? {}) as Partial<KubeObject>;
  const name = metadata?.name;
  if (typeof kind === "string" && SETTINGS_KINDS.has(kind)) {
    const message = `${kind} is not acted on: ${SETTINGS_PLACE}`;
    return { diagnostic: diagnostic("WS0105", message, { object: kind, ...raw.position }) };
  }
  if (
    typeof apiVersion !== "string" ||
    typeof kind !== "string" ||
    typeof name !== "string" ||
    name === ""
  ) {
    const missing = [
      typeof apiVersion === "string" ? "" : "apiVersion",
      typeof kind === "string" ? "" : "kind",
      typeof name === "string" && name !== "" ? "" : "metadata.name",
    ].filter(Boolean);
    const message = `not a Kubernetes object: ${missing.join(", ")} missing`;
    return { diagnostic: diagnostic("WS0005", message, raw.position) };
  }
  const namespace = metadata?.namespace;
  const label = `${kind} ${typeof namespace === "string" ? `${namespace}/` : ""}${name}`;
  const found = kindOf(apiVersion, kind);
  if (found !== undefined) return { kind: found, label };
  const guess = nearest(kind, Object.keys(KINDS));
  const hint = !guess
    ? ""
    : guess === kind
      ? ` (known as ${versionsOf(guess)})`
      : `; did you mean ${guess}?`;
  const message = `${apiVersion} ${kind} is not a kind that a mesh reads; it is ignored${hint}`;
  return { diagnostic: diagnostic("WS0003", message, { object: label, ...raw.position }) };
}

function versionsOf(name: string): string {
  const { group, versions } = KINDS[name as KindName];
  return versions.map((version) => (group === "" ? version : `${group}/${version}`)).join(", ");
}
