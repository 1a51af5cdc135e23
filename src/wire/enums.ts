/** Values of the wire that stand for less than their type could hold: enumerations and ports. */

/** Throws for a number that has no name here: a newer server means something we do not know. */
export function nameOf<E extends Readonly<Record<string, number>>>(
  values: E,
  value: number,
  field: string,
): keyof E & string {
  for (const name in values) if (values[name] === value) return name;
  throw new Error(`${field} ${value} is not known`);
}

/** Throws for a number that no port has. */
export function portOf(value: number): number {
  if (value > 65_535) throw new Error(`there is no port ${value}`);
  return value;
}
