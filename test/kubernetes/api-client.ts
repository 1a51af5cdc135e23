/**
 * The API server over HTTPS, as the stand-ins of this folder need it: single requests and watches.
 * The tests themselves speak through kubectl, as users do.
 */
import { Agent, request } from "undici";

export interface Credentials {
  readonly rootPem: string;
  readonly certificatePem?: string;
  readonly keyPem?: string;
}

export interface KubernetesObject {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly deletionTimestamp?: string;
  };
}

export interface WatchEvent<T> {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: T;
}

/** The API server has answered, and refused. */
export class ApiRefusal extends Error {
  readonly status: number;

  constructor(method: string, path: string, status: number, body: string) {
    super(`${method} ${path}: ${status} ${body.slice(0, 500)}`);
    this.status = status;
  }
}

export class ApiClient {
  readonly #server: string;
  readonly #agent: Agent;

  constructor(server: string, credentials: Credentials) {
    this.#server = server;
    const { rootPem: ca, certificatePem: cert, keyPem: key } = credentials;
    const bodyTimeout = 0; // A watch is silent for as long as nothing happens.
    this.#agent = new Agent({
      bodyTimeout,
      connect: { ca, ...(cert && key ? { cert, key } : {}) },
    });
  }

  async send<T>(
    method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    body?: unknown,
    contentType = "application/json",
  ): Promise<T> {
    const answer = await request(`${this.#server}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: { "content-type": contentType, accept: "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new ApiRefusal(method, path, answer.statusCode, text);
    return (text.startsWith("{") ? JSON.parse(text) : text) as T;
  }

  /** What is there, as ADDED, then every change, until the server ends it or the signal comes. */
  async *watch<T extends KubernetesObject>(
    path: string,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<T>> {
    interface List {
      readonly metadata: { readonly resourceVersion: string };
      readonly items: readonly T[];
    }
    const { metadata, items } = await this.send<List>("GET", path);
    for (const object of items) yield { type: "ADDED", object };
    const query = `watch=true&resourceVersion=${metadata.resourceVersion}`;
    const answer = await request(`${this.#server}${path}?${query}`, {
      dispatcher: this.#agent,
      signal,
    });
    let rest = "";
    answer.body.setEncoding("utf8");
    for await (const chunk of answer.body) {
      const lines = (rest + (chunk as string)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield JSON.parse(line) as WatchEvent<T>;
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}
