/**
 * Makes values safe inside a line of the access log, whoever chose them.
 *
 * No byte of a request may end a line, close a quote, shift a column or steer a terminal: quotes,
 * backslashes, control characters (C0, C1), line separators and bidirectional overrides are escaped.
 */
const UNSAFE_QUOTED = /["\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
const UNSAFE_BARE = /[ "\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
const UNSAFE_JSON = /["\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/;
const ALL_UNSAFE_QUOTED = new RegExp(UNSAFE_QUOTED, "g");
const ALL_UNSAFE_BARE = new RegExp(UNSAFE_BARE, "g");
/** What JSON allows raw, and a line does not. */
const ALL_RAW_IN_JSON = /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

const SHORT = new Map([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

function escapeCharacter(character: string): string {
  const short = SHORT.get(character);
  if (short !== undefined) return short;
  const code = character.charCodeAt(0);
  if (code > 0xff) return unicodeEscape(character);
  return `\\x${code.toString(16).padStart(2, "0")}`;
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** For a place between quotes. */
export function escapeQuoted(value: string): string {
  return UNSAFE_QUOTED.test(value) ? value.replace(ALL_UNSAFE_QUOTED, escapeCharacter) : value;
}

/** For a place without quotes, where a space would begin the next column. */
export function escapeBare(value: string): string {
  return UNSAFE_BARE.test(value) ? value.replace(ALL_UNSAFE_BARE, escapeCharacter) : value;
}

/** The inside of a JSON string. */
export function escapeJson(value: string): string {
  if (!UNSAFE_JSON.test(value)) return value;
  return JSON.stringify(value).slice(1, -1).replace(ALL_RAW_IN_JSON, unicodeEscape);
}
