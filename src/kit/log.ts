/**
 * Logs for operators, one line an event, by scope. Access logs are telemetry/access-log.
 */
import { type Logger, pino } from "pino";

export type { Logger };

/** Set for one of several processes that write to the same place. */
const worker = process.env.WAYSTONE_WORKER;

const root = pino(
  {
    base: worker === undefined ? null : { worker: Number(worker) },
    level: process.env.WAYSTONE_LOG_LEVEL ?? "info",
    timestamp: pino.stdTimeFunctions.isoTime,
  },
  pino.destination({ fd: 2, sync: true }),
);

/** The logger of a scope: `log("ztunnel")`. */
export function log(scope: string): Logger {
  return root.child({ scope });
}

/** Sets the level of all scopes: `debug`, `info`, `warn`, `error`, `silent`. */
export function setLogLevel(level: string): void {
  root.level = level;
}

/** The level that `setLogLevel` has set, or the environment. */
export function logLevel(): string {
  return root.level;
}
