/**
 * Sends a case and judges what comes back, as often as FORMAT.md asks: until it holds three times
 * in a row, within bounds; a distribution over many requests, a few times over.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Expected, Mirrored, RouteCase, StatusCase } from "./cases.ts";
import {
  askTcp,
  Http1Client,
  Http2Client,
  type HttpClient,
  type Seen,
  type Sent,
  secured,
} from "./clients.ts";
import { judgeHttp, judgeTcp } from "./judge.ts";
import { type RouteMesh, SEEN_HEADER } from "./route-mesh.ts";
import { webSocketClient } from "./websocket-clients.ts";

export type ClientKind = "h1" | "h2" | "grpc" | "tcp";

const HOLDS_IN_A_ROW = 3;
const SETTLE_MS = 2_000;
const PAUSE_MS = 50;
const MIRROR_WAIT_MS = 1_000;
const DISTRIBUTION_TRIES = 3;
const CONCURRENCY = 10;

/** The clients that a case is sent by. */
export function clientsOf({ request }: RouteCase): readonly ClientKind[] {
  switch (request.protocol) {
    case "http":
    case "websocket":
      return ["h1", "h2"];
    case "h2c":
      return ["h2"];
    case "grpc":
      return ["grpc"];
    default:
      return ["tcp"];
  }
}

/** What is wrong; empty: nothing. `unsteady` is told of what failed after it had held once. */
export async function runCase(
  mesh: RouteMesh,
  one: RouteCase,
  kind: ClientKind,
  unsteady: (wrong: readonly string[]) => void,
): Promise<readonly string[]> {
  for (const { delete: object } of one.before ?? []) await mesh.delete(object);
  const attempt = new Attempt(mesh, one, kind);
  const { distribution } = one;
  if (distribution !== undefined) {
    const tries = Math.min(distribution.retries ?? 0, DISTRIBUTION_TRIES - 1) + 1;
    return await firstRight(tries, () => attempt.distribution());
  }
  const count = one.request.count ?? 1;
  if (count > 1) return await firstRight(DISTRIBUTION_TRIES, () => attempt.several(count));
  const settled = await untilItHolds(() => attempt.once(), unsteady);
  if (settled.length > 0 || one.repeat === undefined) return settled;
  for (let i = 0; i < one.repeat; i++) {
    const wrong = await attempt.once();
    if (wrong.length > 0) return [`repetition ${i + 1}: ${wrong.join("; ")}`];
  }
  return [];
}

export async function runStatus(mesh: RouteMesh, one: StatusCase): Promise<readonly string[]> {
  for (const { delete: object } of one.before ?? []) await mesh.delete(object);
  const { parent, condition } = one;
  const object =
    `${one.kind} ${one.namespace}/${one.name}` +
    ` → ${parent.kind} ${parent.namespace}/${parent.name}`;
  return await untilItHolds(async () => {
    const all = mesh.report().conditions.filter((c) => c.object === object);
    const meant = all.filter((c) => c.type === condition.type);
    const isThere = meant.some(
      (c) =>
        c.status === condition.status &&
        (condition.reason === undefined || c.reason === condition.reason),
    );
    if (isThere) return [];
    const got = meant.map((c) => `${c.status} ${c.reason} (${c.message})`).join(", ");
    const wanted = `${condition.type} ${condition.status} ${condition.reason ?? ""}`;
    return [`${object}: ${got || "no such condition"}, not ${wanted}`];
  });
}

async function firstRight(
  tries: number,
  run: () => Promise<readonly string[]>,
): Promise<readonly string[]> {
  let wrong: readonly string[] = [];
  for (let i = 0; i < tries; i++) {
    wrong = await run();
    if (wrong.length === 0) return wrong;
  }
  return wrong;
}

async function untilItHolds(
  run: () => Promise<readonly string[]>,
  unsteady: (wrong: readonly string[]) => void = () => {},
): Promise<readonly string[]> {
  const endMs = performance.now() + SETTLE_MS;
  let held = 0;
  for (;;) {
    const wrong = await run();
    if (wrong.length === 0) {
      if (++held >= HOLDS_IN_A_ROW) return [];
      continue;
    }
    if (held > 0) unsteady(wrong);
    held = 0;
    if (performance.now() > endMs) return wrong;
    await sleep(PAUSE_MS);
  }
}

/** One case by one kind of client. */
class Attempt {
  readonly #mesh: RouteMesh;
  readonly #case: RouteCase;
  readonly #kind: ClientKind;

  constructor(mesh: RouteMesh, one: RouteCase, kind: ClientKind) {
    this.#mesh = mesh;
    this.#case = one;
    this.#kind = kind;
  }

  async once(): Promise<readonly string[]> {
    if (this.#kind === "tcp") return judgeTcp(this.#case.expect, await this.#tcp());
    const client = this.#open();
    try {
      return await this.#judged(client, randomUUID());
    } finally {
      client.close();
    }
  }

  /** `request.count` of them. */
  async several(count: number): Promise<readonly string[]> {
    const { expect, request } = this.#case;
    const wrong: string[] = [];
    const backends: { name: string; port: number }[] = [];
    let client = this.#kind === "tcp" ? undefined : this.#open();
    let kept: Readonly<Record<string, string>> = {};
    for (let i = 0; i < count; i++) {
      if (client === undefined) {
        const seen = await this.#tcp();
        wrong.push(...judgeTcp(expect, seen));
        if (seen.backend) backends.push({ name: seen.backend.workload, port: seen.backend.port });
        continue;
      }
      const seen = await this.#send(client, randomUUID(), kept);
      wrong.push(...judgeHttp(expect, seen));
      if (seen.backend) backends.push({ name: seen.backend.workload, port: seen.backend.port });
      if (i === 0) kept = keptHeaders(seen, this.#case);
      if (request.sameConnection) continue;
      client.close();
      client = this.#open();
    }
    client?.close();
    return [...new Set([...wrong, ...spreadProblems(expect, backends)])];
  }

  async distribution(): Promise<readonly string[]> {
    const { distribution, expect } = this.#case;
    if (distribution === undefined) return [];
    const seen = new Map<string, number>();
    const wrong = new Set<string>();
    const id = randomUUID();
    const client = this.#kind === "tcp" ? undefined : this.#open();
    let left = distribution.requests;
    const worker = async () => {
      while (left-- > 0) {
        const got = client ? await this.#send(client, id, {}) : await this.#tcp();
        const problems = "status" in got ? judgeHttp(expect, got) : judgeTcp(expect, got);
        for (const problem of problems) wrong.add(problem);
        const pod = got.backend?.workload;
        const name = pod === undefined ? "(none)" : pod.split("-").slice(0, -2).join("-");
        seen.set(name, (seen.get(name) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, worker));
    client?.close();
    const { requests, weights = {}, tolerance = 0 } = distribution;
    for (const [name, share] of Object.entries(weights)) {
      const got = (seen.get(name) ?? 0) / requests;
      const isRight = share === 0 ? got === 0 : Math.abs(got - share) <= tolerance;
      if (!isRight) wrong.add(`${name} got ${got} of the requests, not ${share}`);
    }
    for (const problem of this.#mirrorShares(id, requests)) wrong.add(problem);
    return [...wrong];
  }

  async #judged(client: HttpClient, id: string): Promise<readonly string[]> {
    const { expect } = this.#case;
    const seen = await this.#send(client, id, {});
    const wrong = judgeHttp(fillIn(expect, id), seen);
    const mirrors = (expect.mirroredTo ?? []).filter((m) => m.percent === undefined);
    if (wrong.length > 0 || mirrors.length === 0) return wrong;
    return await this.#whenMirrored(id, mirrors);
  }

  async #whenMirrored(id: string, mirrors: readonly Mirrored[]): Promise<readonly string[]> {
    const endMs = performance.now() + MIRROR_WAIT_MS;
    for (;;) {
      const seenBy = this.#mesh.seenBy(id);
      const missing = mirrors.filter((mirror) => !seenBy.some((pod) => isMirror(mirror, pod)));
      if (missing.length === 0) return [];
      if (performance.now() > endMs) {
        return missing.map(({ name }) => `${name} did not see it (but ${seenBy.join(", ")})`);
      }
      await sleep(PAUSE_MS / 10);
    }
  }

  /** Of a share p of n requests, n × p ± some standard deviations are expected. */
  #mirrorShares(id: string, requests: number): string[] {
    const { expect, distribution } = this.#case;
    const seenBy = this.#mesh.seenBy(id);
    const wrong: string[] = [];
    for (const mirror of expect.mirroredTo ?? []) {
      const share = (mirror.percent ?? 100) / 100;
      const got = seenBy.filter((pod) => isMirror(mirror, pod)).length;
      const deviation = Math.sqrt(requests * share * (1 - share));
      const slack = deviation * (distribution?.toleranceStdDevs ?? 4);
      if (Math.abs(got - requests * share) <= slack) continue;
      wrong.push(`${mirror.name} got ${got} of ${requests}, not ${requests * share}`);
    }
    return wrong;
  }

  #open(): HttpClient {
    const dial = () => this.#dial();
    const { protocol } = this.#case.request;
    if (protocol === "websocket" && this.#kind !== "grpc" && this.#kind !== "tcp") {
      return webSocketClient(dial, this.#kind);
    }
    if (this.#kind === "h1") return new Http1Client(dial);
    const client = new Http2Client(dial);
    if (this.#kind !== "grpc") return client;
    return { send: (request) => client.call(request), close: () => client.close() };
  }

  #dial() {
    const { from, request } = this.#case;
    const host = this.#mesh.fillIn(request.connect.host, from.namespace, "");
    return this.#mesh.dial(this.#mesh.client(from), host, request.connect.port);
  }

  async #tcp() {
    const { protocol, serverName } = this.#case.request;
    const dialled = this.#dial();
    const connecting = protocol === "tls" ? secured(dialled, serverName ?? "") : dialled;
    const waits = this.#case.expect.serverFirst ? undefined : 0;
    return await askTcp(connecting, waits);
  }

  async #send(
    client: HttpClient,
    id: string,
    more: Readonly<Record<string, string>>,
  ): Promise<Seen> {
    const { from, request, expect } = this.#case;
    const { host, port } = request.connect;
    const fill = (text: string) => this.#mesh.fillIn(text, from.namespace, id);
    const mark = expect.mirroredTo === undefined ? {} : { [SEEN_HEADER]: id };
    const sent: Sent = {
      authority: fill(request.authority ?? (port === 80 ? host : `${host}:${port}`)),
      method: request.method ?? (this.#kind === "grpc" ? "POST" : "GET"),
      path: fill(request.path ?? (request.grpcMethod ? `/${request.grpcMethod}` : "/")),
      headers: { ...request.headers, ...mark, ...more },
      body: request.body,
    };
    return await client.send(sent);
  }
}

/** `{uuid}` in what is expected is the one that was sent. */
function fillIn(expected: Expected, uuid: string): Expected {
  return JSON.parse(JSON.stringify(expected).replaceAll("{uuid}", uuid)) as Expected;
}

function isMirror({ name, namespace }: Mirrored, pod: string): boolean {
  const [ns = "", podName = ""] = pod.split("/");
  return podName.startsWith(name) && ns === (namespace ?? ns);
}

/** Cookies and headers of the first answer that go with the requests behind it. */
function keptHeaders(seen: Seen, { request }: RouteCase): Readonly<Record<string, string>> {
  const kept: Record<string, string> = {};
  if (request.keepsCookies && seen.cookies.length > 0) kept.cookie = seen.cookies.join("; ");
  for (const name of request.keepsHeaders ?? []) {
    const value = seen.headers[name.toLowerCase()];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}

function spreadProblems(
  expected: Expected,
  backends: readonly { readonly name: string; readonly port: number }[],
): string[] {
  const wrong: string[] = [];
  for (const name of expected.distinctBackends ?? []) {
    if (!backends.some((b) => b.name.startsWith(name))) wrong.push(`${name} never answered`);
  }
  const pods = new Set(backends.map((b) => b.name));
  if (expected.allResponsesFromSamePod && pods.size > 1) {
    wrong.push(`${[...pods].join(", ")} answered`);
  }
  if (pods.size < (expected.spreadOver ?? 0)) wrong.push(`only ${[...pods].join(", ")} answered`);
  const { atLeastOne = [], most } = expected.distribution ?? {};
  for (const { backend, port } of atLeastOne) {
    const isThere = backends.some(
      (b) => b.name.startsWith(backend) && (port === undefined || b.port === port),
    );
    if (!isThere) wrong.push(`${backend}:${port ?? "*"} never answered`);
  }
  if (most !== undefined) {
    const own = backends.filter((b) => b.name.startsWith(most)).length;
    if (own * 2 < backends.length) wrong.push(`${most} answered ${own} of ${backends.length}`);
  }
  return wrong;
}
