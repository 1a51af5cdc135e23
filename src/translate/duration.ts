/**
 * Durations of the Gateway API (GEP-2257): `1h30m`, `500ms`, whole numbers only.
 */
const FORM = /^(?:\d{1,5}(?:h|m|s|ms)){1,4}$/;

const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** `undefined` for what is no duration. */
export function parseDurationMs(text: string): number | undefined {
  if (!FORM.test(text)) return undefined;
  let total = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|h|m|s)/g)) {
    total += Number(count) * UNITS_MS[unit!]!;
  }
  return total;
}
