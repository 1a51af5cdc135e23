/** Sends the same request to either proxy and keeps what came of it. */
import http from "node:http";
import http2 from "node:http2";
import type { Backends, Seen } from "./backends.ts";
import { type Asked, MIRROR } from "./tables.ts";

export interface Outcome {
  readonly status: number;
  readonly grpcStatus: string;
  /** Names and values, in order of the names; those of the hop left out. */
  readonly headers: readonly string[];
  /** What the backend saw that answered. */
  readonly seen: Comparable | undefined;
  /** … and the one that was sent a copy. */
  readonly mirrored: Comparable | undefined;
}

/** `Seen` without what each proxy says in its own words. */
export interface Comparable {
  readonly backend: string;
  readonly line: string;
  readonly host: string;
  readonly headers: readonly string[];
  readonly bodyBytes: number;
  readonly attempts: number;
}

export interface Client {
  /** The outcome is asked for when copies have had time to arrive, too. */
  send(asked: Asked, host: string): Promise<() => Outcome>;
  end(): void;
}

/** Proxies' own: request ids, the hop's framing, times, Envoy's internals. */
const OF_THE_HOP = new Set([
  ...["connection", "keep-alive", "content-length", "transfer-encoding", "te", "date", "server"],
  ...["x-id", "x-seen", "x-request-id", "x-forwarded-proto", "x-forwarded-for", "forwarded"],
  ...[
    "traceparent",
    "tracestate",
    "baggage",
    "content-type",
    "grpc-message",
    "grpc-status",
    "host",
  ],
]);

function isOfTheHop(name: string): boolean {
  if (name === "x-envoy-original-path") return false;
  return OF_THE_HOP.has(name) || /^x-(envoy|istio)-/.test(name);
}

export class Http1Client implements Client {
  readonly #port: number;
  readonly #prefix: string;
  readonly #backends: Backends;
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  #count = 0;

  /** `prefix`: tells the two proxies' requests apart. */
  constructor(port: number, prefix: string, backends: Backends) {
    this.#port = port;
    this.#prefix = prefix;
    this.#backends = backends;
  }

  async send(asked: Asked, host: string): Promise<() => Outcome> {
    const id = `${this.#prefix}${this.#count++}`;
    const { method, target, bodyBytes } = asked;
    const headers = [...asked.headers, ["x-id", id], ["host", host]].flat() as string[];
    if (bodyBytes > 0) headers.push("content-length", String(bodyBytes));
    const where = { port: this.#port, host: "127.0.0.1", agent: this.#agent, setHost: false };
    const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const request = http.request({ ...where, method, path: target, headers: headers as never });
      request.on("response", resolve);
      request.on("error", reject);
      request.setTimeout(20_000, () => request.destroy(new Error("no answer")));
      request.end(Buffer.alloc(bodyBytes, "x"));
    });
    answer.resume();
    await new Promise((resolve) => answer.on("close", resolve));
    const { statusCode = 0, rawHeaders } = answer;
    return () => outcomeOf(statusCode, rawHeaders, id, this.#backends);
  }

  end(): void {
    this.#agent.destroy();
  }
}

export class GrpcClient implements Client {
  readonly #session: http2.ClientHttp2Session;
  readonly #prefix: string;
  readonly #backends: Backends;
  #count = 0;

  constructor(port: number, prefix: string, backends: Backends) {
    this.#session = http2.connect(`http://127.0.0.1:${port}`);
    this.#prefix = `${prefix}g`;
    this.#backends = backends;
  }

  async send(asked: Asked, host: string): Promise<() => Outcome> {
    const id = `${this.#prefix}${this.#count++}`;
    const fields = { ...Object.fromEntries(asked.headers), "x-id": id, te: "trailers" };
    const stream = this.#session.request({
      ":method": asked.method,
      ":path": asked.target,
      ":authority": host,
      "content-type": "application/grpc",
      ...fields,
    });
    stream.setTimeout(20_000, () => stream.destroy(new Error("no answer")));
    stream.end(Buffer.alloc(asked.bodyBytes));
    const headers = await new Promise<http2.IncomingHttpHeaders>((resolve, reject) => {
      stream.on("response", resolve);
      stream.on("error", reject);
    });
    stream.resume();
    await new Promise((resolve) => stream.on("close", resolve));
    const raw = Object.entries(headers).flatMap(([name, value]) => [name, String(value)]);
    return () => outcomeOf(Number(headers[":status"]), raw, id, this.#backends);
  }

  end(): void {
    this.#session.destroy();
  }
}

function outcomeOf(
  status: number,
  raw: readonly string[],
  id: string,
  backends: Backends,
): Outcome {
  const pairs = pairsOf(raw);
  const value = (wanted: string) => pairs.find(([name]) => name === wanted)?.[1] ?? "";
  const [seenText] = [value("x-seen")];
  const seen =
    seenText === "" ? undefined : (JSON.parse(Buffer.from(seenText, "base64").toString()) as Seen);
  const mirrored = backends.seen(MIRROR, id).at(-1);
  return {
    status,
    grpcStatus: value("grpc-status"),
    headers: shown(pairs),
    seen: seen && comparable(seen, backends.seen(seen.backend, id).length),
    mirrored: mirrored && comparable(mirrored, backends.seen(MIRROR, id).length),
  };
}

function pairsOf(raw: readonly string[]): (readonly [string, string])[] {
  const pairs: (readonly [string, string])[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (!name.startsWith(":")) pairs.push([name, raw[i + 1]!]);
  }
  return pairs.sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
}

function shown(pairs: readonly (readonly [string, string])[]): string[] {
  return pairs.filter(([name]) => !isOfTheHop(name)).map(([name, value]) => `${name}: ${value}`);
}

function comparable(seen: Seen, attempts: number): Comparable {
  const { backend, method, url, host, headers, bodyBytes } = seen;
  return { backend, line: `${method} ${url}`, host, headers: shown(headers), bodyBytes, attempts };
}
