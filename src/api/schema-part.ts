/**
 * The part of a schema that an error is about. Ajv's path to it starts anew wherever a schema
 * refers to another, so it is followed from where the value's own path leads.
 */
import type { ErrorObject } from "ajv";

export interface SchemaPart {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, SchemaPart>>;
  readonly additionalProperties?: SchemaPart | boolean;
  readonly items?: SchemaPart;
  readonly oneOf?: readonly { readonly required?: readonly string[] }[];
  readonly description?: string;
}

/** What has the keyword; `undefined` when the path leads nowhere. */
export function schemaPartOf(error: ErrorObject, root: SchemaPart): SchemaPart | undefined {
  const tokens = tokensOf(error.schemaPath.slice(1)).slice(0, -1);
  const place = tokensOf(error.instancePath);
  const base = place.slice(0, place.length - depthOf(tokens));
  const start = base.reduce<SchemaPart | undefined>((part, name) => inner(part, name, root), root);
  const part = tokens.reduce<unknown>(
    (at, token) => (resolved(at, root) as Record<string, unknown> | undefined)?.[token],
    start,
  );
  return resolved(part, root);
}

/** The tokens of a JSON pointer. */
export function tokensOf(pointer: string): string[] {
  const tokens = pointer.split("/").slice(1);
  return tokens.map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** How many steps into the value the schema's path takes. */
function depthOf(tokens: readonly string[]): number {
  let depth = 0;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (token === "properties" || token === "items" || token === "additionalProperties") depth++;
    // A name, or the number of an alternative.
    if (token === "properties" || /^(all|any|one)Of$/.test(token)) i++;
  }
  return depth;
}

/** The schema of a field, item or value. */
function inner(part: SchemaPart | undefined, name: string, root: SchemaPart) {
  const { properties, items, additionalProperties } = resolved(part, root) ?? {};
  if (properties && Object.hasOwn(properties, name)) return properties[name];
  return items ?? (typeof additionalProperties === "object" ? additionalProperties : undefined);
}

function resolved(part: unknown, root: SchemaPart): SchemaPart | undefined {
  const { $ref } = (part ?? {}) as SchemaPart;
  if ($ref === undefined) return part as SchemaPart | undefined;
  const name = tokensOf($ref.slice(1)).at(-1)!;
  return (root as { readonly $defs?: Readonly<Record<string, SchemaPart>> }).$defs?.[name];
}
