/**
 * What the three standard ports serve: admin (15000), metrics (15020) and readiness (15021).
 *
 * Paths and answers are the ones that Istio's tools ask a ztunnel and a waypoint for.
 */
import { setLogLevel } from "../kit/log.ts";
import { type AdminResponse, type AdminRoute, AdminServer } from "./admin-server.ts";
import type { Readiness } from "./readiness.ts";

export const ADMIN_PORT = 15000;
export const METRICS_PORT = 15020;
export const READINESS_PORT = 15021;

const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Levels that may be asked for, as Istio and ztunnel call them, and ours for them. */
const LEVELS: ReadonlyMap<string, string> = new Map([
  ["trace", "trace"],
  ["debug", "debug"],
  ["info", "info"],
  ["warn", "warn"],
  ["warning", "warn"],
  ["error", "error"],
  ["off", "silent"],
]);

export function jsonResponse(value: unknown, status = 200): AdminResponse {
  const body = `${JSON.stringify(value, undefined, 2)}\n`;
  return { status, contentType: "application/json", body };
}

export function textResponse(text: string, status = 200): AdminResponse {
  return { status, contentType: "text/plain; charset=utf-8", body: text };
}

export interface AdminOptions {
  /** The answer of /config_dump, as JSON; may be a promise. */
  readonly configDump: () => unknown;
  /** The answer of /decisions/<id>; undefined: 404. May be a promise. */
  readonly decision?: (id: string) => unknown;
  /** POST /logging; this process's own level by default. */
  readonly setLogLevel?: (level: string) => void;
  /** POST /quitquitquit, called when its answer has been sent. */
  readonly quit: () => void;
  /** Served as /healthz/ready, too. */
  readonly readiness?: Readiness;
  /** Names beside IPs and `localhost` under which the port may be asked. */
  readonly trustedHosts?: readonly string[];
}

export function createAdminServer(options: AdminOptions): AdminServer {
  const server = new AdminServer({ name: "admin", trustedHosts: options.trustedHosts ?? [] });
  server.addRoute({
    method: "GET",
    path: "/",
    description: "this list",
    handler: () => textResponse(indexPage(server.routes)),
  });
  server.addRoute({
    method: "GET",
    path: "/config_dump",
    description: "the configuration in force, as JSON",
    handler: async () => jsonResponse(await options.configDump()),
  });
  server.addRoute({
    method: "POST",
    path: "/logging",
    description: "?level=trace|debug|info|warn|error|off sets the log level",
    handler: ({ query }) => changeLevel(query.get("level"), options.setLogLevel ?? setLogLevel),
  });
  server.addRoute({
    method: "POST",
    path: "/quitquitquit",
    description: "drains and ends the process",
    handler: () => ({ ...textResponse("shutting down\n"), onSent: options.quit }),
  });
  if (options.decision !== undefined) server.addRoute(decisionRoute(options.decision));
  if (options.readiness !== undefined) server.addRoute(readinessRoute(options.readiness));
  return server;
}

/** A registry, or what sums those of several processes. */
export interface MetricsSource {
  exposition(): Iterable<string> | Promise<Iterable<string>>;
}

/** `/stats/prometheus`, the path in a waypoint's scrape annotation, and `/metrics`. */
export function createMetricsServer(metrics: MetricsSource): AdminServer {
  const server = new AdminServer({ name: "metrics" });
  for (const path of ["/metrics", "/stats/prometheus"]) {
    server.addRoute({
      method: "GET",
      path,
      description: "metrics in the Prometheus text format",
      handler: async () => {
        return { status: 200, contentType: EXPOSITION_TYPE, body: await metrics.exposition() };
      },
    });
  }
  return server;
}

export function createReadinessServer(readiness: Readiness): AdminServer {
  const server = new AdminServer({ name: "readiness" });
  server.addRoute(readinessRoute(readiness));
  return server;
}

function readinessRoute(readiness: Readiness): AdminRoute {
  return {
    method: "GET",
    path: "/healthz/ready",
    description: "200 when traffic may come, else 503 and why",
    handler: () =>
      readiness.isReady
        ? textResponse("ready\n")
        : textResponse(`not ready\n${readiness.reasons.join("\n")}\n`, 503),
  };
}

function decisionRoute(decision: (id: string) => unknown): AdminRoute {
  return {
    method: "GET",
    path: "/decisions/",
    description: "<id>: why a recent request was allowed, denied, or sent where it went",
    handler: async ({ rest }) => {
      const found = await decision(rest);
      if (found !== undefined) return jsonResponse(found);
      return textResponse("no decision of that id is kept; only the latest ones are\n", 404);
    },
  };
}

function changeLevel(wanted: string | null, set: (level: string) => void): AdminResponse {
  const level = LEVELS.get(wanted?.toLowerCase() ?? "");
  if (level === undefined) {
    return textResponse(`level must be one of ${[...LEVELS.keys()].join(", ")}\n`, 400);
  }
  set(level);
  return textResponse(`the log level is ${level}\n`);
}

function indexPage(routes: readonly AdminRoute[]): string {
  const lines = routes.map(({ method, path, description }) => {
    return `${method.padEnd(5)}${path.padEnd(24)}${description}`;
  });
  return `${lines.join("\n")}\n`;
}
