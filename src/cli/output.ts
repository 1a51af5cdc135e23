/**
 * What commands say and how: data on stdout, talk on stderr; tables with upper-case headers,
 * columns padded with spaces, no borders and no colour.
 */
import { stringify } from "yaml";

export interface Output {
  /** Data: to stdout. */
  print(text: string): void;
  /** Talk: to stderr. */
  say(text: string): void;
}

/** The process's own streams. A reader that goes away (`| head`) is no error. */
export function processOutput(): Output {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
  return {
    print: (text) => void process.stdout.write(`${text}\n`),
    say: (text) => void process.stderr.write(`${text}\n`),
  };
}

const GAP = "   ";

/** Lines of a table; cells that are empty print as `-`. The last column is not padded. */
export function table(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [headers, ...rows.map((row) => row.map((cell) => cell || "-"))];
  const widths = headers.map((_, column) =>
    Math.max(...lines.map((line) => (line[column] ?? "").length)),
  );
  return lines
    .map((line) => line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(GAP))
    .map((line) => line.trimEnd())
    .join("\n");
}

export function yaml(value: unknown): string {
  return stringify(JSON.parse(JSON.stringify(value)), { lineWidth: 0 }).trimEnd();
}

/** A stable interface for programs. */
export function json(value: unknown): string {
  return JSON.stringify(value, undefined, 2);
}
