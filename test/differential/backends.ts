/**
 * The servers behind both proxies. Each answers as the request's `x-reply-*` headers ask it to, and
 * says in `x-seen` what reached it.
 */
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";

export interface Seen {
  readonly backend: string;
  readonly method: string;
  readonly url: string;
  readonly host: string;
  /** Names and values, in order of the names. */
  readonly headers: readonly (readonly [string, string])[];
  readonly bodyBytes: number;
}

export interface Backends {
  /** By name: the port of loopback. */
  readonly ports: ReadonlyMap<string, number>;
  /** What has reached `backend`, by the request's `x-id`; also what was never answered. */
  seen(backend: string, id: string): readonly Seen[];
  end(): void;
}

type Headers = http.IncomingHttpHeaders;

/** Names that begin with `g` speak HTTP/2. */
export async function startBackends(names: readonly string[]): Promise<Backends> {
  const ports = new Map<string, number>();
  const all = new Map<string, Seen[]>();
  const servers: { close(): unknown; closeAllConnections?(): void }[] = [];
  const sessions = new Set<http2.Http2Session>();
  for (const name of names) {
    const note = (seen: Seen, id: string) => {
      const key = `${name} ${id}`;
      all.set(key, [...(all.get(key) ?? []), seen]);
      return all.get(key)!.length;
    };
    const server = name.startsWith("g") ? http2.createServer() : http.createServer();
    if (name.startsWith("g")) (server as http2.Http2Server).on("session", (s) => sessions.add(s));
    server.on("request", (request: http.IncomingMessage, response: http.ServerResponse) =>
      answer(name, request, response, note),
    );
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ports.set(name, (server.address() as AddressInfo).port);
    servers.push(server);
  }
  return {
    ports,
    seen: (backend, id) => all.get(`${backend} ${id}`) ?? [],
    end: () => {
      for (const session of sessions) session.destroy();
      for (const server of servers) {
        server.closeAllConnections?.();
        server.close();
      }
    },
  };
}

/** As many times as asked it fails first; `x-reply-delay` in milliseconds. */
function answer(
  backend: string,
  request: http.IncomingMessage,
  response: http.ServerResponse,
  note: (seen: Seen, id: string) => number,
): void {
  let bodyBytes = 0;
  request.on("data", (bytes: Buffer) => {
    bodyBytes += bytes.length;
  });
  request.on("error", () => {});
  request.on("end", () => {
    const { headers } = request;
    const seen = seenOf(backend, request, bodyBytes);
    const attempt = note(seen, text(headers, "x-id"));
    const failures = Number(text(headers, "x-reply-failures") || 0);
    const status =
      attempt <= failures
        ? Number(text(headers, "x-reply-failure"))
        : Number(text(headers, "x-reply-status") || 200);
    const fields: Record<string, string[]> = {
      "x-seen": [Buffer.from(JSON.stringify(seen)).toString("base64")],
    };
    for (const pair of text(headers, "x-reply-headers").split(",").filter(Boolean)) {
      const [name = "", value = ""] = pair.split("=");
      fields[name] = [...(fields[name] ?? []), value];
    }
    if (backend.startsWith("g")) Object.assign(fields, { "content-type": ["application/grpc"] });
    setTimeout(
      () => {
        if (response.destroyed) return;
        response.writeHead(status, fields);
        response.end(request.method === "HEAD" ? undefined : "ok");
      },
      Number(text(headers, "x-reply-delay") || 0),
    );
  });
}

function text(headers: Headers, name: string): string {
  return String(headers[name] ?? "");
}

function seenOf(backend: string, request: http.IncomingMessage, bodyBytes: number): Seen {
  const { method = "", url = "", rawHeaders, headers } = request;
  const pairs: [string, string][] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (!name.startsWith(":")) pairs.push([name, rawHeaders[i + 1]!]);
  }
  pairs.sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
  const host = text(headers, ":authority") || text(headers, "host");
  return { backend, method, url, host, headers: pairs, bodyBytes };
}
