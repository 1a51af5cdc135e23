/**
 * Manifests with holes: plain objects, in which some parts are said of the installation's values.
 *
 * They are the one source of what is installed. `render.ts` fills the holes for `waystone install`;
 * `tools/helm-templates.ts` writes them down as Helm's templates. So there are only as many kinds of
 * holes as both can do alike.
 */

/** What a hole is filled with. */
export type Reference =
  /** A path into the values: `image.tag`. */
  | { readonly value: string; readonly orElse?: Reference }
  | { readonly builtIn: BuiltIn }
  | { readonly condition: Condition; readonly then: string; readonly otherwise: string }
  /** The element of the list that is gone through. */
  | { readonly item: true };

/** What is known of an installation without values. */
export type BuiltIn = "namespace" | "release" | "appVersion";

/** True as Helm has it: not false, not 0, not empty. */
export type Condition =
  | { readonly isSet: string }
  | { readonly value: string; readonly equals: string }
  | { readonly all: readonly Condition[] };

export type ChartNode =
  | string
  | number
  | boolean
  | Hole
  | readonly ChartNode[]
  | { readonly [key: string]: ChartNode };

type Filling =
  /** A value as it is, of whatever type. */
  | { readonly kind: "value"; readonly of: Reference }
  /** Text of literal parts and texts or whole numbers. */
  | { readonly kind: "text"; readonly parts: readonly (string | Reference)[] }
  | { readonly kind: "joined"; readonly path: string; readonly separator: string }
  /** In a list or mapping: there if the condition holds; else another one, or nothing. */
  | {
      readonly kind: "when";
      readonly condition: Condition;
      readonly node: ChartNode;
      readonly otherwise?: ChartNode;
    }
  /** In a list: one for each element of the value. */
  | { readonly kind: "each"; readonly path: string; readonly node: ChartNode }
  /** A file's text, as YAML. */
  | { readonly kind: "yaml"; readonly node: ChartNode }
  /** Another one when one of the values is another. */
  | { readonly kind: "checksum"; readonly paths: readonly string[] };

/** A class, so that it is told from a mapping of a manifest. */
export class Hole {
  readonly filling: Filling;

  constructor(filling: Filling) {
    this.filling = filling;
  }
}

/** An object of the installation, and the template that has it. */
export interface ChartObject {
  /** Under `templates/`. */
  readonly file: string;
  readonly condition?: Condition;
  /** Somebody else's object of that name is left as it is. */
  readonly isLeftToOthers?: boolean;
  readonly object: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly metadata: { readonly [key: string]: ChartNode };
    readonly [field: string]: ChartNode;
  };
}

export const NAMESPACE: Reference = { builtIn: "namespace" };
export const RELEASE: Reference = { builtIn: "release" };
export const APP_VERSION: Reference = { builtIn: "appVersion" };
export const ITEM: Reference = { item: true };

export function ref(value: string, orElse?: Reference): Reference {
  return orElse === undefined ? { value } : { value, orElse };
}

export function value(of: Reference | string): Hole {
  return new Hole({ kind: "value", of: typeof of === "string" ? ref(of) : of });
}

/** A template literal: text`${NAMESPACE}/ztunnel`. */
export function text(literals: TemplateStringsArray, ...references: readonly Reference[]): Hole {
  const parts = literals.flatMap((literal, index) => {
    const reference = references[index];
    return reference === undefined ? [literal] : [literal, reference];
  });
  return new Hole({ kind: "text", parts: parts.filter((part) => part !== "") });
}

export function joined(path: string, separator: string): Hole {
  return new Hole({ kind: "joined", path, separator });
}

export function when(condition: Condition | string, node: ChartNode, otherwise?: ChartNode): Hole {
  const holds = typeof condition === "string" ? { isSet: condition } : condition;
  const rest = otherwise === undefined ? {} : { otherwise };
  return new Hole({ kind: "when", condition: holds, node, ...rest });
}

export function each(path: string, node: ChartNode): Hole {
  return new Hole({ kind: "each", path, node });
}

export function yamlText(node: ChartNode): Hole {
  return new Hole({ kind: "yaml", node });
}

export function checksum(...paths: readonly string[]): Hole {
  return new Hole({ kind: "checksum", paths });
}

/** A value where it is set. */
export function ifSet(path: string, otherwise?: ChartNode): Hole {
  return when(path, value(path), otherwise);
}

export const UNDER: Condition = { value: "mode", equals: "under" };
export const BESIDE: Condition = { value: "mode", equals: "beside" };

/** One text or another, by the mode. */
export function byMode(then: string, otherwise: string): Reference {
  return { condition: UNDER, then, otherwise };
}
