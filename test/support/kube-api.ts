/**
 * A scripted Kubernetes API server: discovery, lists in pages and watches over HTTP, on what a test
 * puts into it, with the faults that it orders. What the real one promises holds here too: versions
 * only grow, a page list is of one moment, a watch continues behind the version it names or is
 * refused with 410.
 */
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { isBuiltIn, KINDS, type Kind, type KindName, kindOf } from "../../src/api/kinds.ts";
import type { KubeObject } from "../../src/api/object.ts";
import { compareText } from "../../src/translate/object-names.ts";

export interface ApiEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly version: number;
  readonly kind: KindName;
  readonly object: KubeObject;
}

export interface ApiRequest {
  readonly verb: "discover" | "list" | "watch";
  readonly kind: KindName | undefined;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string;
}

interface Watcher {
  readonly kind: KindName;
  readonly response: ServerResponse;
  /** Not sent yet. */
  pending: ApiEvent[];
  readonly sent: ApiEvent[];
  timer: NodeJS.Timeout | undefined;
}

export interface KubeApiOptions {
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string };
}

/** As old as what says nothing of it. */
const CREATED = "1970-01-01T00:00:00Z";

export class KubeApi {
  readonly requests: ApiRequest[] = [];
  /** Events wait so long before they are sent, all together. */
  delayMs = 0;
  /** What is sent instead of these events, to a watch that has been sent those before. */
  disturb: (events: readonly ApiEvent[], sent: readonly ApiEvent[]) => readonly ApiEvent[] = (e) =>
    e;
  /** How a version that is too old is refused. */
  goneAs: "status" | "event" = "status";
  /** Who may ask; undefined: everybody. */
  tokens: ReadonlySet<string> | undefined;
  isReady = true;
  readonly #options: KubeApiOptions;
  readonly #objects = new Map<KindName, Map<string, KubeObject>>();
  readonly #missing = new Set<KindName>();
  readonly #forbidden = new Map<KindName, ReadonlySet<string>>();
  readonly #watchers = new Set<Watcher>();
  readonly #pages = new Map<string, { version: number; items: readonly KubeObject[] }>();
  #history: ApiEvent[] = [];
  #version = 1_000;
  #oldest = 1_000;
  #refusals: { status: number; headers: Record<string, string> }[] = [];
  #cutLists = 0;
  #cutEvents = 0;
  #server: http.Server | undefined;
  #port = 0;

  static async start(options: KubeApiOptions = {}): Promise<KubeApi> {
    const api = new KubeApi(options);
    await api.listen();
    return api;
  }

  private constructor(options: KubeApiOptions) {
    this.#options = options;
  }

  get url(): string {
    return `${this.#options.tls ? "https" : "http"}://127.0.0.1:${this.#port}`;
  }

  get watches(): number {
    return this.#watchers.size;
  }

  get version(): number {
    return this.#version;
  }

  /** All objects, as they are. */
  get objects(): readonly KubeObject[] {
    return [...this.#objects.values()].flatMap((byKey) => [...byKey.values()]);
  }

  requestsOf(verb: ApiRequest["verb"], kind?: KindName): readonly ApiRequest[] {
    return this.requests.filter((r) => r.verb === verb && (kind === undefined || r.kind === kind));
  }

  /** A kubeconfig for this server, with a token or whatever the user is to have. */
  kubeconfig(folder: string, user: object = {}): string {
    const path = join(folder, "kubeconfig");
    const cluster = this.#options.tls
      ? {
          server: this.url,
          "certificate-authority-data": Buffer.from(this.#options.tls.ca).toString("base64"),
        }
      : { server: this.url, "insecure-skip-tls-verify": true };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      clusters: [{ name: "test", cluster }],
      users: [{ name: "tester", user }],
      contexts: [{ name: "test", context: { cluster: "test", user: "tester" } }],
    };
    writeFileSync(path, JSON.stringify(config));
    return path;
  }

  // What is there.

  put(object: KubeObject): KubeObject {
    const kind = kindIn(object);
    const byKey = this.#of(kind);
    const { isNamespaced } = KINDS[kind];
    const namespace = isNamespaced ? (object.metadata.namespace ?? "default") : undefined;
    const key = keyOf(namespace, object.metadata.name);
    const earlier = byKey.get(key);
    const before = earlier?.metadata;
    const isSame = earlier !== undefined && isDeepStrictEqual(earlier.spec, object.spec);
    this.#version += 1 + (this.#version % 3);
    const stored = {
      ...object,
      metadata: {
        creationTimestamp: CREATED,
        uid: before?.uid ?? randomUUID(),
        ...object.metadata,
        ...(namespace === undefined ? {} : { namespace }),
        generation: (before?.generation ?? 0) + (isSame ? 0 : 1),
        resourceVersion: String(this.#version),
        managedFields: [{ manager: "test", operation: "Update", fieldsV1: { "f:spec": {} } }],
      },
    };
    byKey.set(key, stored);
    this.#record(before === undefined ? "ADDED" : "MODIFIED", kind, stored);
    return stored;
  }

  delete(kind: KindName, namespace: string | undefined, name: string): void {
    const byKey = this.#of(kind);
    const key = keyOf(namespace, name);
    const object = byKey.get(key);
    if (object === undefined) throw new Error(`there is no ${kind} ${key}`);
    byKey.delete(key);
    this.#version += 1;
    const metadata = { ...object.metadata, resourceVersion: String(this.#version) };
    this.#record("DELETED", kind, { ...object, metadata });
  }

  /** Its definition is not installed any more; its objects are gone. */
  uninstall(kind: KindName): void {
    for (const object of [...this.#of(kind).values()]) {
      this.delete(kind, object.metadata.namespace, object.metadata.name);
    }
    this.#missing.add(kind);
    this.dropWatches(kind);
  }

  /** Its definition is not known for a while, though nothing was deleted. */
  hide(kind: KindName): void {
    this.#missing.add(kind);
    this.dropWatches(kind);
  }

  install(kind: KindName): void {
    this.#missing.delete(kind);
  }

  forbid(kind: KindName, ...verbs: ("list" | "watch")[]): void {
    this.#forbidden.set(kind, new Set(verbs.length === 0 ? ["list", "watch"] : verbs));
    this.dropWatches(kind);
  }

  permit(kind: KindName): void {
    this.#forbidden.delete(kind);
  }

  // Faults.

  async listen(): Promise<void> {
    const { tls } = this.#options;
    const answer = (request: IncomingMessage, response: ServerResponse) =>
      this.#answer(request, response);
    const server = tls ? https.createServer(tls, answer) : http.createServer(answer);
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Away, with all connections, until `listen()`. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const watcher of this.#watchers) this.#forget(watcher);
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  dropWatches(kind?: KindName): void {
    for (const watcher of [...this.#watchers]) {
      if (kind !== undefined && watcher.kind !== kind) continue;
      this.#forget(watcher);
      watcher.response.socket?.destroy();
    }
  }

  /** Ends watches as at the end of their time. */
  endWatches(): void {
    for (const watcher of [...this.#watchers]) {
      this.#forget(watcher);
      watcher.response.end();
    }
  }

  /** No version before the present one is known any more, nor are the pages of unfinished lists. */
  compact(): void {
    this.#oldest = this.#version;
    this.#history = [];
    this.#pages.clear();
  }

  /** Watches that are open learn that their version is too old. */
  expireWatches(): void {
    this.compact();
    for (const watcher of [...this.#watchers]) {
      this.#forget(watcher);
      watcher.response.end(line({ type: "ERROR", object: statusOf(410, "too old") }));
    }
  }

  /** The next requests are refused. */
  refuse(count: number, status: number, headers: Record<string, string> = {}): void {
    for (let i = 0; i < count; i++) this.#refusals.push({ status, headers });
  }

  /** The next lists end in the middle. */
  cutLists(count: number): void {
    this.#cutLists += count;
  }

  /** The next events end in the middle of a line. */
  cutEvents(count: number): void {
    this.#cutEvents += count;
  }

  /** Nothing that was ordered is left to happen. */
  calm(): void {
    this.#refusals = [];
    this.#cutLists = 0;
    this.#cutEvents = 0;
  }

  bookmark(): void {
    for (const watcher of this.#watchers) {
      this.#flush(watcher);
      const object = { metadata: { resourceVersion: String(this.#version) } };
      watcher.response.write(line({ type: "BOOKMARK", object }));
    }
  }

  #of(kind: KindName): Map<string, KubeObject> {
    let byKey = this.#objects.get(kind);
    if (byKey === undefined) {
      byKey = new Map();
      this.#objects.set(kind, byKey);
    }
    return byKey;
  }

  #record(type: ApiEvent["type"], kind: KindName, object: KubeObject): void {
    const event = { type, kind, object, version: this.#version };
    this.#history.push(event);
    for (const watcher of this.#watchers) if (watcher.kind === kind) this.#queue(watcher, event);
  }

  #queue(watcher: Watcher, event: ApiEvent): void {
    watcher.pending.push(event);
    if (this.delayMs === 0) this.#flush(watcher);
    else watcher.timer ??= setTimeout(() => this.#flush(watcher), this.delayMs);
  }

  #flush(watcher: Watcher): void {
    clearTimeout(watcher.timer);
    watcher.timer = undefined;
    const { pending, sent, response } = watcher;
    if (pending.length === 0) return;
    watcher.pending = [];
    const isCut = this.#cutEvents > 0;
    // What is cut comes in order: a watch is continued behind the last that came.
    const events = isCut ? pending : this.disturb(pending, sent);
    sent.push(...pending);
    const text = events.map(({ type, object }) => line({ type, object })).join("");
    if (isCut) {
      this.#cutEvents--;
      this.#forget(watcher);
      response.write(text.slice(0, text.length >> 1), () => response.socket?.destroy());
      return;
    }
    response.write(text);
  }

  #forget(watcher: Watcher): void {
    clearTimeout(watcher.timer);
    this.#watchers.delete(watcher);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname: path, searchParams: query } = new URL(request.url ?? "/", "http://api");
    const served = this.#servedAt(path);
    const isWatch = query.get("watch") === "true";
    const verb = served === undefined ? "discover" : isWatch ? "watch" : "list";
    const authorization = request.headers.authorization ?? "";
    this.requests.push({ verb, kind: served?.kind, path, query, authorization });
    const refusal = this.#refusals.shift();
    if (refusal !== undefined) {
      send(response, refusal.status, statusOf(refusal.status, "ordered"), refusal.headers);
      return;
    }
    if (this.tokens !== undefined && !this.tokens.has(authorization.replace("Bearer ", ""))) {
      send(response, 401, statusOf(401, "Unauthorized"));
    } else if (served === undefined) this.#discover(path, response);
    else if (this.#missing.has(served.kind)) send(response, 404, statusOf(404, "not found"));
    else if (this.#forbidden.get(served.kind)?.has(verb)) {
      send(response, 403, statusOf(403, `cannot ${verb} resource`));
    } else if (isWatch) this.#watch(served.kind, query, response);
    else this.#list(served, query, response);
  }

  #servedAt(path: string): { kind: KindName; namespace: string | undefined } | undefined {
    const found = /^(?:\/api|\/apis\/([^/]+))\/[^/]+(?:\/namespaces\/([^/]+))?\/([^/]+)$/.exec(
      path,
    );
    if (found === null) return undefined;
    const [, group = "", namespace, plural] = found;
    for (const kind of Object.keys(KINDS) as KindName[]) {
      if (KINDS[kind].group === group && pluralOf(kind) === plural) return { kind, namespace };
    }
    return undefined;
  }

  #discover(path: string, response: ServerResponse): void {
    const kinds = (Object.keys(KINDS) as KindName[]).filter((kind) => !this.#missing.has(kind));
    const preferred = (kind: KindName) => (KINDS[kind] as Kind).versions[0]!;
    if (path === "/readyz") {
      response.writeHead(this.isReady ? 200 : 500).end(this.isReady ? "ok" : "not yet");
      return;
    }
    if (path === "/apis") {
      const versions = kinds
        .filter((kind) => KINDS[kind].group !== "")
        .map((kind) => `${KINDS[kind].group}/${preferred(kind)}`);
      const groups = [...new Set(versions)].map((groupVersion) => ({
        versions: [{ groupVersion }],
      }));
      send(response, 200, { kind: "APIGroupList", groups });
      return;
    }
    const at = path.replace(/^\/apis?\//, "");
    const there = kinds.filter((kind) => {
      const { group } = KINDS[kind];
      return at === (group === "" ? preferred(kind) : `${group}/${preferred(kind)}`);
    });
    if (there.length === 0) {
      response.writeHead(404, { "content-type": "text/plain" }).end("404 page not found");
      return;
    }
    const resources = there.flatMap((kind) => {
      const { spelling = kind, isNamespaced }: Kind = KINDS[kind];
      const name = pluralOf(kind);
      const status = { name: `${name}/status`, kind: spelling, namespaced: isNamespaced };
      return [{ name, kind: spelling, namespaced: isNamespaced }, status];
    });
    send(response, 200, { kind: "APIResourceList", resources });
  }

  #list(
    { kind, namespace }: { kind: KindName; namespace: string | undefined },
    query: URLSearchParams,
    response: ServerResponse,
  ): void {
    const limit = Number(query.get("limit") ?? 0) || Number.POSITIVE_INFINITY;
    const token = query.get("continue");
    const [id = randomUUID() as string, offset = "0"] = token?.split(" ") ?? [];
    if (token === null) {
      const items = [...this.#of(kind).entries()]
        .sort(([one], [other]) => compareText(one, other))
        .map(([, object]) => object)
        .filter(({ metadata }) => namespace === undefined || metadata.namespace === namespace);
      this.#pages.set(id, { version: this.#version, items });
    }
    const pages = this.#pages.get(id);
    if (pages === undefined) {
      send(response, 410, statusOf(410, "the continue token is too old"));
      return;
    }
    const end = Number(offset) + limit;
    const items = pages.items.slice(Number(offset), end);
    const isLast = end >= pages.items.length;
    if (isLast) this.#pages.delete(id);
    const next = isLast ? {} : { continue: `${id} ${end}` };
    const metadata = { resourceVersion: String(pages.version), ...next };
    const body = { kind: "List", metadata, items: items.map((item) => listed(kind, item)) };
    if (this.#cutLists > 0) {
      this.#cutLists--;
      const text = JSON.stringify(body);
      response.writeHead(200, { "content-length": text.length + 1 });
      response.write(text.slice(0, text.length >> 1), () => response.socket?.destroy());
      return;
    }
    send(response, 200, body);
  }

  #watch(kind: KindName, query: URLSearchParams, response: ServerResponse): void {
    const from = Number(query.get("resourceVersion"));
    if (from < this.#oldest) {
      const status = statusOf(410, "too old resource version");
      if (this.goneAs === "status") send(response, 410, status);
      else response.writeHead(200).end(line({ type: "ERROR", object: status }));
      return;
    }
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    const watcher: Watcher = { kind, response, pending: [], sent: [], timer: undefined };
    this.#watchers.add(watcher);
    response.on("close", () => this.#forget(watcher));
    for (const event of this.#history) {
      if (event.kind === kind && event.version > from) this.#queue(watcher, event);
    }
  }
}

function keyOf(namespace: string | undefined, name: string): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

function kindIn({ apiVersion, kind }: KubeObject): KindName {
  const found = kindOf(apiVersion, kind);
  if (found === undefined) throw new Error(`${apiVersion} ${kind} is not a kind of the mesh`);
  return found;
}

function pluralOf(kind: KindName): string {
  const { spelling = kind }: Kind = KINDS[kind];
  const name = spelling.toLowerCase();
  if (kind === "Endpoints") return name;
  if (/[^aeiou]y$/.test(name)) return `${name.slice(0, -1)}ies`;
  return name.endsWith("s") ? `${name}es` : `${name}s`;
}

/** Lists of built-in kinds say their kind once, and not in each item. */
function listed(kind: KindName, object: KubeObject): object {
  if (!isBuiltIn(kind)) return object;
  const { apiVersion: _version, kind: _kind, ...item } = object;
  return item;
}

function statusOf(code: number, message: string): object {
  return { kind: "Status", apiVersion: "v1", status: "Failure", code, message };
}

function line(event: object): string {
  return `${JSON.stringify(event)}\n`;
}

function send(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(text);
}
