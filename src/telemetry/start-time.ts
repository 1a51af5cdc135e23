/**
 * Times in access-log lines: ISO 8601 with milliseconds, or a strftime pattern; always UTC.
 *
 * The default is made from a cached second, since `toISOString` for each line would cost as much
 * as a quarter of the line.
 */
const THREE_DIGITS = Array.from({ length: 1000 }, (_, i) => `${String(i).padStart(3, "0")}Z`);

let cachedSecond = Number.NaN;
let cachedPrefix = "";

/** `2026-03-01T12:00:00.123Z` */
function isoTime(unixMs: number): string {
  const whole = Math.floor(unixMs);
  const second = Math.floor(whole / 1000);
  if (second !== cachedSecond) {
    cachedSecond = second;
    cachedPrefix = new Date(second * 1000).toISOString().slice(0, 20);
  }
  return cachedPrefix + THREE_DIGITS[whole - second * 1000]!;
}

type TimePiece = (date: Date, unixMs: number) => string;

const pad = (value: number, digits: number): string => String(value).padStart(digits, "0");

const CONVERSIONS: ReadonlyMap<string, TimePiece> = new Map<string, TimePiece>([
  ["Y", (d) => pad(d.getUTCFullYear(), 4)],
  ["y", (d) => pad(d.getUTCFullYear() % 100, 2)],
  ["m", (d) => pad(d.getUTCMonth() + 1, 2)],
  ["d", (d) => pad(d.getUTCDate(), 2)],
  ["e", (d) => String(d.getUTCDate()).padStart(2)],
  ["b", (d) => MONTHS[d.getUTCMonth()]!],
  ["a", (d) => DAYS[d.getUTCDay()]!],
  ["H", (d) => pad(d.getUTCHours(), 2)],
  ["M", (d) => pad(d.getUTCMinutes(), 2)],
  ["S", (d) => pad(d.getUTCSeconds(), 2)],
  ["F", (d) => d.toISOString().slice(0, 10)],
  ["T", (d) => d.toISOString().slice(11, 19)],
  ["s", (_, unixMs) => String(Math.floor(unixMs / 1000))],
  ["f", (_, unixMs) => fraction(unixMs, 9)],
  ["z", () => "+0000"],
  ["Z", () => "UTC"],
  ["%", () => "%"],
]);

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const DAYS = "Sun Mon Tue Wed Thu Fri Sat".split(" ");

/** The part of a second, to so many digits. We know milliseconds; the rest is zeros. */
function fraction(unixMs: number, digits: number): string {
  const ms = Math.floor(unixMs) - Math.floor(unixMs / 1000) * 1000;
  return pad(ms, 3).padEnd(9, "0").slice(0, digits);
}

/** A writer of times by pattern ("" is ISO 8601), or what is wrong with the pattern. */
export function compileTime(pattern: string): ((unixMs: number) => string) | string {
  if (pattern === "") return isoTime;
  const pieces: TimePiece[] = [];
  for (const [whole, digits, letter] of pattern.matchAll(/%([1-9]?)(.?)|[^%]+/gs)) {
    if (letter === undefined) pieces.push(() => whole);
    else if (digits !== "" && letter === "f") {
      pieces.push((_, unixMs) => fraction(unixMs, Number(digits)));
    } else {
      const conversion = digits === "" ? CONVERSIONS.get(letter!) : undefined;
      if (conversion === undefined) return `%START_TIME%: "${whole}" is not a known conversion`;
      pieces.push(conversion);
    }
  }
  return (unixMs) => {
    const date = new Date(unixMs);
    let time = "";
    for (const piece of pieces) time += piece(date, unixMs);
    return time;
  };
}
