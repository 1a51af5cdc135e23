/**
 * Lines about connections and DNS queries in the form of Istio's ztunnel, so that what reads its
 * log reads ours: fields by name, in its order; those that are not known are left out.
 *
 *     TEXT  <time> TAB <level> TAB <scope> TAB <message> TAB <name>=<value> <name>="<value>" …
 *     JSON  {"level":…,"time":…,"scope":…,"message":…,"<name>":<value>,…}
 *
 * They stand between the other lines of the process, and follow its level.
 */
import { isLogged, type LogLevel, writeLogLine } from "../kit/log.ts";
import { appendBare, appendJson, appendQuoted } from "./access-log-escape.ts";
import { LineBytes } from "./line-bytes.ts";

export type EventFields = Readonly<Record<string, string | number | undefined>>;

export interface EventLogOptions {
  readonly scope: string;
  /** Asked for each line: the mesh's settings may change. */
  readonly encoding: () => "TEXT" | "JSON";
  /** Where lines go, and which; by default where all logs go. */
  readonly write?: (line: string) => void;
  readonly isLogged?: (level: LogLevel) => boolean;
}

/** Addresses stand without quotes. */
const BARE: ReadonlySet<string> = new Set(["src.addr", "dst.addr", "dst.hbone_addr"]);

export class EventLog {
  /** Asked before the fields of a line that is seldom wanted are put together. */
  readonly isLogged: (level: LogLevel) => boolean;
  readonly #scope: string;
  readonly #encoding: () => "TEXT" | "JSON";
  readonly #write: (line: string) => void;
  readonly #line = new LineBytes();

  constructor(options: EventLogOptions) {
    this.#scope = options.scope;
    this.#encoding = options.encoding;
    this.#write = options.write ?? writeLogLine;
    this.isLogged = options.isLogged ?? isLogged;
  }

  write(level: LogLevel, message: string | undefined, fields: EventFields): void {
    if (!this.isLogged(level)) return;
    const line = this.#line;
    line.reset();
    const head = { level, time: new Date().toISOString(), scope: this.#scope };
    if (this.#encoding() === "JSON") appendJsonLine(line, { ...head, message, ...fields });
    else appendTextLine(line, [head.time, level, head.scope, message], fields);
    this.#write(line.toString());
  }
}

function appendTextLine(
  line: LineBytes,
  head: readonly (string | undefined)[],
  fields: EventFields,
): void {
  for (const column of head) if (column !== undefined) line.append(`${column}\t`);
  let separator = "";
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    line.append(`${separator}${name}=`);
    separator = " ";
    if (typeof value === "number") line.append(String(value));
    else if (BARE.has(name)) appendBare(line, value);
    else {
      line.append('"');
      appendQuoted(line, value);
      line.append('"');
    }
  }
  line.append("\n");
}

function appendJsonLine(line: LineBytes, fields: EventFields): void {
  let separator = "{";
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    line.append(`${separator}"${name}":`);
    separator = ",";
    if (typeof value === "number") line.append(String(value));
    else {
      line.append('"');
      appendJson(line, value);
      line.append('"');
    }
  }
  line.append("}\n");
}
