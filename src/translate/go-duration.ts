/** Durations as MeshConfig has them: Go's form, or protobuf's, which is part of it. */
const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `1h2m3.5s`, `300ms`; `undefined` for what is no duration. */
export function goDurationMs(value: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(value)) return undefined;
  let ms = 0;
  for (const [, number, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    ms += Number(number) * UNITS_MS[unit!]!;
  }
  return Math.round(ms);
}
