/**
 * Recorded requests of a file: what `waystone decisions -o json` prints, or one of its objects a
 * line.
 */
import { readFile } from "node:fs/promises";
import { type RecordedRequest, readRecordedRequest } from "../agent/replay/recorded-request.ts";
import { CommandError, EXIT_CONFIGURATION } from "./command-error.ts";

const HINT = "Write such a file with 'waystone decisions -o json > FILE'.";

export async function loadRecordedRequests(file: string): Promise<readonly RecordedRequest[]> {
  return parseRecordedRequests(await readFile(file, "utf8"), file);
}

export function parseRecordedRequests(text: string, file: string): readonly RecordedRequest[] {
  const whole = parsed(text);
  if (Array.isArray(whole)) {
    return whole.map((value, index) => checked(value, `${file}, entry ${index + 1}`));
  }
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    return [checked(parsed(line), `${file}:${index + 1}`)];
  });
}

/** In Istio's JSON form: neither who asked nor with which headers and claims. */
function isAccessLogLine(value: unknown): boolean {
  return typeof value === "object" && value !== null && "response_code" in value;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function checked(value: unknown, place: string): RecordedRequest {
  if (value === undefined) {
    throw new CommandError(EXIT_CONFIGURATION, `${place} is not JSON`, HINT);
  }
  if (isAccessLogLine(value)) {
    const message = `${place} is a line of an access log, which does not say all that decides`;
    throw new CommandError(EXIT_CONFIGURATION, message, HINT);
  }
  try {
    return readRecordedRequest(value);
  } catch (caught) {
    const reason = caught instanceof Error ? caught.message : String(caught);
    const message = `${place} is no recorded request: ${reason}`;
    throw new CommandError(EXIT_CONFIGURATION, message, HINT, { cause: caught });
  }
}
