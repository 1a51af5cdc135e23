/** Durations as Go writes them, which Gateway API and Istio take: `1h30m`, `1.5s`, `10ms`. */
const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const DURATION = /^[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/;

/** Milliseconds; undefined: it is no duration. */
export function durationMs(text: string): number | undefined {
  if (text === "0") return 0;
  if (!DURATION.test(text)) return undefined;
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)([a-zµ]+)/g)) {
    sum += Number(number) * UNITS[unit!]!;
  }
  // Of sums of decimal fractions the last digits are noise.
  const ms = Math.round(sum * 1e6) / 1e6;
  return text.startsWith("-") ? -ms : ms;
}
