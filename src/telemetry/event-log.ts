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
import { escapeBare, escapeJson, escapeQuoted } from "./access-log-escape.ts";

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

  constructor(options: EventLogOptions) {
    this.#scope = options.scope;
    this.#encoding = options.encoding;
    this.#write = options.write ?? writeLogLine;
    this.isLogged = options.isLogged ?? isLogged;
  }

  write(level: LogLevel, message: string | undefined, fields: EventFields): void {
    if (!this.isLogged(level)) return;
    const time = new Date().toISOString();
    const isJson = this.#encoding() === "JSON";
    const line = isJson ? jsonLine : textLine;
    this.#write(line(time, level, this.#scope, message, fields));
  }
}

/** Most values are plain: they are looked at, and not made anew. */
const PLAIN = /^[!#-[\]-~]*$/;

function textLine(
  time: string,
  level: LogLevel,
  scope: string,
  message: string | undefined,
  fields: EventFields,
): string {
  let line = `${time}\t${level}\t${scope}\t`;
  if (message !== undefined) line += `${message}\t`;
  let separator = "";
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    line += separator + name;
    separator = " ";
    if (typeof value === "number") line += `=${value}`;
    else if (BARE.has(name)) line += `=${PLAIN.test(value) ? value : escapeBare(value)}`;
    else line += `="${PLAIN.test(value) ? value : escapeQuoted(value)}"`;
  }
  return `${line}\n`;
}

function jsonLine(
  time: string,
  level: LogLevel,
  scope: string,
  message: string | undefined,
  fields: EventFields,
): string {
  let line = `{"level":"${level}","time":"${time}","scope":"${scope}"`;
  if (message !== undefined) line += `,"message":"${message}"`;
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    if (typeof value === "number") line += `,"${name}":${value}`;
    else line += `,"${name}":"${PLAIN.test(value) ? value : escapeJson(value)}"`;
  }
  return `${line}}\n`;
}
