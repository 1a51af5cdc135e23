/**
 * Fills the holes of manifests with values: what `waystone install` applies and prints.
 */
import { createHash } from "node:crypto";
import { stringify } from "yaml";
import type { KubeObject } from "../../api/object.ts";
import { assert } from "../../kit/assert.ts";
import type { BuiltIn, ChartNode, ChartObject, Condition, Reference } from "./chart-node.ts";
import { Hole } from "./chart-node.ts";
import type { Values } from "./values.ts";

export interface Installation {
  readonly values: Values;
  readonly builtIns: Readonly<Record<BuiltIn, string>>;
}

export interface RenderedObject {
  readonly object: KubeObject;
  readonly isLeftToOthers: boolean;
}

export function render(
  chart: readonly ChartObject[],
  installation: Installation,
): readonly RenderedObject[] {
  const renderer = new Renderer(installation);
  return chart.flatMap(({ condition, object, isLeftToOthers = false }) =>
    condition === undefined || renderer.holds(condition)
      ? [{ object: renderer.node(object) as unknown as KubeObject, isLeftToOthers }]
      : [],
  );
}

type Choice = Extract<Hole["filling"], { readonly kind: "when" }>;

/** What stands for a part that is not there. */
const ABSENT = Symbol("absent");

class Renderer {
  readonly #installation: Installation;
  #item: unknown;

  constructor(installation: Installation) {
    this.#installation = installation;
  }

  holds(condition: Condition): boolean {
    if ("isSet" in condition) return isTrue(this.#at(condition.isSet));
    if ("all" in condition) return condition.all.every((one) => this.holds(one));
    return this.#at(condition.value) === condition.equals;
  }

  node(node: ChartNode): unknown {
    if (node instanceof Hole) return this.#hole(node);
    if (Array.isArray(node)) return node.flatMap((part) => this.#elements(part));
    if (typeof node !== "object") return node;
    const parts = Object.entries(node).map(([key, part]) => [key, this.node(part)] as const);
    return Object.fromEntries(parts.filter(([, part]) => part !== ABSENT));
  }

  #elements(node: ChartNode): readonly unknown[] {
    if (!(node instanceof Hole)) return [this.node(node)];
    const { filling } = node;
    if (filling.kind === "when") {
      const chosen = this.#choose(filling);
      return chosen === undefined ? [] : this.#elements(chosen);
    }
    if (filling.kind !== "each") return [this.node(node)];
    const list = (this.#at(filling.path) ?? []) as readonly unknown[];
    return list.map((item) => {
      this.#item = item;
      return this.node(filling.node);
    });
  }

  #hole({ filling }: Hole): unknown {
    switch (filling.kind) {
      case "value":
        return this.#reference(filling.of);
      case "text":
        return filling.parts
          .map((part) => (typeof part === "string" ? part : String(this.#reference(part))))
          .join("");
      case "joined":
        return (this.#at(filling.path) as readonly unknown[]).join(filling.separator);
      case "when": {
        const chosen = this.#choose(filling);
        return chosen === undefined ? ABSENT : this.node(chosen);
      }
      case "yaml":
        // YAML 1.1, as its readers in Go have it: there `on` is no text.
        return stringify(this.node(filling.node), { version: "1.1", lineWidth: 0 });
      case "checksum":
        return createHash("sha256")
          .update(goJson(filling.paths.map((path) => this.#at(path))))
          .digest("hex");
    }
    return assert(false, "a list's elements stand in a list");
  }

  #choose({ condition, node, otherwise }: Choice): ChartNode | undefined {
    return this.holds(condition) ? node : otherwise;
  }

  #reference(reference: Reference): unknown {
    if ("item" in reference) return this.#item;
    if ("condition" in reference) {
      return this.holds(reference.condition) ? reference.then : reference.otherwise;
    }
    if ("builtIn" in reference) return this.#installation.builtIns[reference.builtIn];
    const found = this.#at(reference.value);
    return isTrue(found) || reference.orElse === undefined
      ? found
      : this.#reference(reference.orElse);
  }

  #at(path: string): unknown {
    let at: unknown = this.#installation.values;
    for (const key of path.split(".")) at = (at as Readonly<Record<string, unknown>>)?.[key];
    return at;
  }
}

function isTrue(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return Boolean(value);
  return Object.keys(value).length > 0;
}

/** As Go writes JSON: keys in order, and what could end a script escaped. */
function goJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(goJson).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, part]) => `${goJson(key)}:${goJson(part)}`).join(",")}}`;
  }
  return JSON.stringify(value ?? null).replace(
    /[<>&\u2028\u2029]/g,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
