/**
 * Logs for operators, one line an event, by scope. Access logs are telemetry/access-log.
 */
import { type Logger, pino } from "pino";

export type { Logger };

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Set for one of several processes that write to the same place. */
const worker = process.env.WAYSTONE_WORKER;

const destination = pino.destination({ fd: 2, sync: true });

const root = pino(
  {
    base: worker === undefined ? null : { worker: Number(worker) },
    level: process.env.WAYSTONE_LOG_LEVEL ?? "info",
    timestamp: pino.stdTimeFunctions.isoTime,
  },
  destination,
);

/** The logger of a scope: `log("ztunnel")`. */
export function log(scope: string): Logger {
  return root.child({ scope });
}

/** A line of another form, with its line feed, to the same place. */
export function writeLogLine(line: string): void {
  destination.write(line);
}

/** Whether lines of that level are written. */
export function isLogged(level: LogLevel): boolean {
  return root.isLevelEnabled(level);
}

/** Sets the level of all scopes: `debug`, `info`, `warn`, `error`, `silent`. */
export function setLogLevel(level: string): void {
  root.level = level;
}

/** The level that `setLogLevel` has set, or the environment. */
export function logLevel(): string {
  return root.level;
}
