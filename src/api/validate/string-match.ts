/** Texts that a VirtualService matches: exact, by prefix, by regular expression (RE2). */
import { RE2JS } from "re2js";
import type { FieldPath } from "../object.ts";
import { type Problems, problem } from "./problem.ts";

export interface StringMatch {
  readonly exact?: string;
  readonly prefix?: string;
  readonly regex?: string;
}

const REGEX_LENGTH_MAX = 1024;

/** A prefix of nothing matches all, which is said otherwise. */
export function* stringMatchProblems(
  match: StringMatch | null | undefined,
  path: FieldPath,
): Problems {
  if (match?.prefix === "") yield problem([...path, "prefix"], "must not be empty");
  yield* regexMatchProblems(match, path);
}

export function* regexMatchProblems(
  match: StringMatch | null | undefined,
  path: FieldPath,
): Problems {
  if (match?.regex === undefined) return;
  if (match.regex === "") yield problem([...path, "regex"], "must not be empty");
  else yield* regexProblems(match.regex, [...path, "regex"]);
}

export function* regexProblems(regex: string, path: FieldPath): Problems {
  if (regex.length > REGEX_LENGTH_MAX) {
    yield problem(path, `is longer than ${REGEX_LENGTH_MAX} characters`);
    return;
  }
  try {
    RE2JS.compile(regex);
  } catch (caught) {
    yield problem(path, `is no regular expression of RE2: ${(caught as Error).message}`);
  }
}
