/** Enumerations of the wire, by name. */

/** Throws for a number that has no name here: a newer server means something we do not know. */
export function nameOf<E extends Readonly<Record<string, number>>>(
  values: E,
  value: number,
  field: string,
): keyof E & string {
  for (const name in values) if (values[name] === value) return name;
  throw new Error(`${field} ${value} is not known`);
}
