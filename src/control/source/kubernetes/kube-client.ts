/**
 * Requests to an API server: a page, a watch, and the few ways to write. The library knows where it
 * is and who we are; these have what its own lack: limits of time and size on everything, and an
 * end at once.
 *
 * What the server says is a value, also when it refuses; that it cannot be reached is a Failure.
 */
import http, { type IncomingMessage } from "node:http";
import https from "node:https";
import { Failure } from "../../../kit/failure.ts";
import type { ClusterAccess } from "./cluster-access.ts";

export interface Refusal {
  readonly isRefusal: true;
  /** HTTP's; in a watch that of the error event. */
  readonly status: number;
  readonly message: string;
  readonly retryAfterMs: number;
}

export interface WatchEvent {
  readonly type: string;
  readonly object: unknown;
}

export interface WatchHandlers {
  /** The server has accepted the watch. */
  onOpen(): void;
  /** False: no further events are wanted. */
  onEvent(event: WatchEvent): boolean;
}

export type Query = Readonly<Record<string, string | number | undefined>>;

/** What the server answered to a write: the object as it is now. */
export type Written = Refusal | { readonly body: unknown };

/** How an object is written; all but `create` go to the object's own path. */
const WRITES = {
  /** To the path of the collection; refused with 409 when the object is there. */
  create: ["POST", "application/json"],
  /** Refused with 409 when the resourceVersion in the body is not the object's. */
  replace: ["PUT", "application/json"],
  /** Server-side apply; the query has `fieldManager`, and `force` to win every conflict. */
  apply: ["PATCH", "application/apply-patch+yaml"],
  /** JSON merge patch (RFC 7396). */
  merge: ["PATCH", "application/merge-patch+json"],
  /** The body has `preconditions`, as DeleteOptions do. */
  remove: ["DELETE", "application/json"],
} as const;

export type WriteKind = keyof typeof WRITES;

interface Sent {
  readonly method: string;
  readonly contentType: string;
  readonly body: string;
}

/** A page of 500 Pods has about 5 MB. */
const PAGE_BYTES_MAX = 128 * 1024 * 1024;
/** The API server takes objects of 3 MiB at most; with what it adds. */
const EVENT_CHARACTERS_MAX = 16 * 1024 * 1024;
const OBJECT_BYTES_MAX = 16 * 1024 * 1024;
const REFUSAL_BYTES_MAX = 64 * 1024;
const MESSAGE_CHARACTERS_MAX = 4096;
const RETRY_AFTER_MS_MAX = 60_000;
/** A peer that has gone without a word is found out after this and ten probes a second each. */
const KEEP_ALIVE_MS = 30_000;

export class KubeClient {
  readonly #access: ClusterAccess;
  readonly #silenceMs: number;

  constructor(access: ClusterAccess, silenceMs: number) {
    this.#access = access;
    this.#silenceMs = silenceMs;
  }

  /** What stands at the path, parsed. Throws KUBERNETES_UNAVAILABLE. */
  async get(path: string, query: Query, signal: AbortSignal): Promise<Refusal | { body: unknown }> {
    return await this.#orUnavailable(async () => {
      const response = await this.#send(path, query, signal);
      if (response.statusCode !== 200) return await refusalOf(response);
      return { body: JSON.parse(await textOf(response, PAGE_BYTES_MAX)) };
    });
  }

  /** Throws KUBERNETES_UNAVAILABLE; what the server refuses is a value. */
  async write(
    kind: WriteKind,
    path: string,
    query: Query,
    object: unknown,
    signal: AbortSignal,
  ): Promise<Written> {
    const [method, contentType] = WRITES[kind];
    const sent = { method, contentType, body: JSON.stringify(object) };
    return await this.#orUnavailable(async () => {
      const response = await this.#send(path, query, signal, sent);
      const { statusCode = 500 } = response;
      if (statusCode < 200 || statusCode > 299) return await refusalOf(response);
      return { body: JSON.parse(await textOf(response, OBJECT_BYTES_MAX)) };
    });
  }

  /** Why the server does not yet, or no longer, answer as it should; undefined: it does. */
  async unreadiness(signal: AbortSignal): Promise<Refusal | undefined> {
    return await this.#orUnavailable(async () => {
      const response = await this.#send("/readyz", {}, signal);
      // A server that does not tell everybody is taken at its other words.
      if (response.statusCode !== undefined && response.statusCode >= 500) {
        const refusal = await refusalOf(response);
        const failing = refusal.message.match(/^\[-\]\S+/gm) ?? [];
        return { ...refusal, message: ["not ready", ...failing].join(" ") };
      }
      response.destroy();
      return undefined;
    });
  }

  /**
   * Hands over each event until the server ends the watch, as it does now and then, or refuses it,
   * or `onEvent` says that it is enough. Throws KUBERNETES_UNAVAILABLE when the connection breaks.
   */
  async watch(
    path: string,
    query: Query & { readonly timeoutSeconds: number },
    signal: AbortSignal,
    { onOpen, onEvent }: WatchHandlers,
  ): Promise<Refusal | undefined> {
    const ending = new AbortController();
    const end = () => ending.abort();
    signal.addEventListener("abort", end);
    // A server that does not keep to the time it was given may have forgotten us.
    const limit = setTimeout(end, query.timeoutSeconds * 1000 + this.#silenceMs);
    let response: IncomingMessage | undefined;
    return await this.#orUnavailable(async () => {
      try {
        response = await this.#send(path, { ...query, watch: "true" }, ending.signal);
        if (response.statusCode !== 200) return await refusalOf(response);
        response.socket.setTimeout(0);
        response.socket.setKeepAlive(true, KEEP_ALIVE_MS);
        onOpen();
        for await (const line of linesOf(response)) {
          if (!onEvent(JSON.parse(line) as WatchEvent)) break;
        }
        return undefined;
      } finally {
        clearTimeout(limit);
        signal.removeEventListener("abort", end);
        response?.destroy();
      }
    });
  }

  /** The server did not accept who we are. */
  forgetAccess(): void {
    this.#access.forget();
  }

  /** Resolves with the head of the answer. */
  async #send(
    path: string,
    query: Query,
    signal: AbortSignal,
    sent?: Sent,
  ): Promise<IncomingMessage> {
    const { server, options } = await this.#access.authorized();
    const url = new URL(`${server.replace(/\/$/, "")}${path}`);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const headers = {
      ...options.headers,
      accept: "application/json",
      "user-agent": "waystone",
      ...(sent && {
        "content-type": sent.contentType,
        // Node gives none to a DELETE: the server would not see its body.
        "content-length": Buffer.byteLength(sent.body),
      }),
    };
    const send = url.protocol === "http:" ? http.request : https.request;
    return await new Promise((resolve, reject) => {
      const method = sent?.method ?? "GET";
      const request = send(url, { ...options, method, headers, signal }, resolve);
      request.on("error", reject);
      request.setTimeout(this.#silenceMs, () => {
        request.destroy(new Error(`no byte for ${this.#silenceMs} ms`));
      });
      request.end(sent?.body);
    });
  }

  async #orUnavailable<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (caught) {
      throw Failure.from(caught, "KUBERNETES_UNAVAILABLE");
    }
  }
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === "object" && value !== null && "isRefusal" in value;
}

/** Of a `Status`, in the body of an answer or in an event of type ERROR. */
export function refusalFrom(status: unknown, otherwise: number): Refusal {
  const { code, message, details } = (status ?? {}) as {
    readonly code?: unknown;
    readonly message?: unknown;
    readonly details?: { readonly retryAfterSeconds?: unknown } | null;
  };
  const seconds = Number(details?.retryAfterSeconds ?? 0);
  return {
    isRefusal: true,
    status: typeof code === "number" ? code : otherwise,
    message: typeof message === "string" ? message.slice(0, MESSAGE_CHARACTERS_MAX) : "",
    retryAfterMs: Math.min(Math.max(seconds || 0, 0) * 1000, RETRY_AFTER_MS_MAX),
  };
}

async function refusalOf(response: IncomingMessage): Promise<Refusal> {
  const httpStatus = response.statusCode ?? 500;
  const text = await textOf(response, REFUSAL_BYTES_MAX).catch(() => "");
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = { message: text };
  }
  const refusal = refusalFrom(body, httpStatus);
  const seconds = Number(response.headers["retry-after"] ?? 0) || 0;
  const retryAfterMs = Math.min(seconds * 1000, RETRY_AFTER_MS_MAX);
  return {
    ...refusal,
    status: httpStatus,
    retryAfterMs: Math.max(refusal.retryAfterMs, retryAfterMs),
  };
}

async function textOf(response: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new TooLarge(`an answer of more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  if (!response.complete) throw new Error("the answer was broken off");
  return Buffer.concat(chunks).toString("utf8");
}

/** Of an answer; a smaller page may do. */
class TooLarge extends Error {}

export function isTooLarge(caught: unknown): boolean {
  return caught instanceof Failure && caught.cause instanceof TooLarge;
}

async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding("utf8");
  let rest = "";
  for await (const chunk of response as unknown as AsyncIterable<string>) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > EVENT_CHARACTERS_MAX) throw new Error("an event is too large");
    for (const line of lines) if (line.trim() !== "") yield line;
  }
  if (!response.complete || rest.trim() !== "") throw new Error("the watch was broken off");
}
