/** What a schema cannot say of a WasmPlugin and of a TrafficExtension. */
import { each } from "./places.ts";
import { attachmentProblems } from "./policy-attachment.ts";
import { type Problems, problem } from "./problem.ts";
import { unique } from "./uniqueness.ts";

interface Env {
  readonly name: string;
  readonly valueFrom?: string;
  readonly value?: string;
}

interface Port {
  readonly number: number;
}

const URL_SCHEMES: ReadonlySet<string> = new Set(["http:", "https:", "file:", "oci:"]);

export function* wasmPluginProblems(plugin: unknown): Problems {
  yield* attachmentProblems(plugin);
  yield* matchProblems(plugin);
  yield* moduleProblems(plugin, "spec");
}

export function* trafficExtensionProblems(extension: unknown): Problems {
  yield* attachmentProblems(extension);
  yield* matchProblems(extension);
  yield* moduleProblems(extension, "spec.wasm");
  for (const { path, value } of each<{ wasm?: object; lua?: object }>(extension, "spec")) {
    if ((value.wasm === undefined) !== (value.lua === undefined)) continue;
    yield problem(path, "needs wasm or lua, and not both");
  }
}

function* matchProblems(object: unknown): Problems {
  for (const { path, value } of each<readonly Port[]>(object, "spec.match[].ports")) {
    const port = (number: string) => `the port ${number}`;
    yield* unique(value, path, ({ number }) => String(number), port, ["number"]);
  }
}

/** A module's own settings. */
function* moduleProblems(object: unknown, pattern: string): Problems {
  for (const { path, value } of each<string>(object, `${pattern}.url`)) {
    if (!isModuleUrl(value)) yield problem(path, "must be a URL of http, https, file or oci");
  }
  for (const { path, value } of each<readonly Env[]>(object, `${pattern}.vmConfig.env`)) {
    const variable = (name: string) => `a variable of the name ${name}`;
    yield* unique(value, path, ({ name }) => name, variable, ["name"]);
    for (const [i, { valueFrom, value: text }] of value.entries()) {
      if (valueFrom !== "HOST" || text === undefined) continue;
      yield problem([...path, i, "value"], "is not for a variable of the host");
    }
  }
}

/** Without a scheme it is an image's name; `registry:5000/image` has the scheme `registry`. */
function isModuleUrl(text: string): boolean {
  if (/[#\s]/.test(text)) return false;
  const scheme = /^[a-z][-+.a-z0-9]*:/i.exec(text)?.[0].toLowerCase();
  if (scheme !== undefined) return URL_SCHEMES.has(scheme) && URL.canParse(text);
  return URL.canParse(`http://${text}`);
}
