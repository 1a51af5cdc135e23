/**
 * Makes values safe inside a line of the access log, whoever chose them.
 *
 * No byte of a request may end a line, close a quote, shift a column or steer a terminal: quotes,
 * backslashes, control characters (C0, C1), line separators and bidirectional overrides become
 * escapes.
 */
import type { LineBytes } from "./line-bytes.ts";

const UNSAFE_QUOTED = /["\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;
const UNSAFE_BARE = /[ "\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;
/** What JSON allows raw, and a line does not. */
const RAW_IN_JSON = /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g;

const SPACE = 0x20;
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
export function appendQuoted(line: LineBytes, value: string): void {
  if (!line.appendPlain(value, SPACE)) line.append(escapeQuoted(value));
}

export function escapeQuoted(value: string): string {
  return value.replace(UNSAFE_QUOTED, escapeCharacter);
}

/** For a place without quotes, where a space would begin the next column and a quote a string. */
export function appendBare(line: LineBytes, value: string): void {
  if (!line.appendPlain(value, SPACE + 1)) line.append(escapeBare(value));
}

export function escapeBare(value: string): string {
  return value.replace(UNSAFE_BARE, escapeCharacter).replaceAll('\\"', "\\x22");
}

/** For the inside of a JSON string. */
export function appendJson(line: LineBytes, value: string): void {
  if (!line.appendPlain(value, SPACE)) line.append(escapeJson(value));
}

export function escapeJson(value: string): string {
  return JSON.stringify(value).slice(1, -1).replace(RAW_IN_JSON, unicodeEscape);
}
