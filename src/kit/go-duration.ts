/**
 * Durations as Go programs write them (MeshConfig, Istio's objects); protobuf's form is part of it.
 */
const UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5
  μs: 1e-3, // U+03BC
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const PART = "(?:\\d+(?:\\.\\d*)?|\\.\\d+)(?:ns|us|µs|μs|ms|s|m|h)";
const FORM = new RegExp(`^[-+]?(?:0|(?:${PART})+)$`);
/** Go counts nanoseconds in 64 bits: 292 years. */
const MAX_MS = 2 ** 63 / 1e6;

/** `1h2m3.5s`, `300us`, `-1s`: milliseconds and parts of one; `undefined` for what is none. */
export function parseGoDuration(text: string): number | undefined {
  if (!FORM.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)([a-zµμ]+)/g)) {
    ms += Number(number) * UNITS_MS[unit!]!;
  }
  if (ms > MAX_MS) return undefined;
  // Of sums of decimal fractions the last digits are noise.
  ms = Math.round(ms * 1e6) / 1e6;
  return text.startsWith("-") ? -ms : ms;
}

/** In whole milliseconds; `undefined` also for a negative one. */
export function goDurationMs(text: string): number | undefined {
  const ms = parseGoDuration(text);
  return ms === undefined || ms < 0 ? undefined : Math.round(ms);
}
