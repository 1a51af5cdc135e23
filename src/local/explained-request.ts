/**
 * `waystone explain`: what would become of a request, asked by names, answered hop by hop. The
 * request is not sent: the proxies' own decision functions are run over the configuration.
 */
import { nearest } from "../kit/nearest.ts";
import type { Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { findMeant } from "../model/workload-names.ts";
import { normalizePath } from "../net/path.ts";
import type { JwtFacts, ProviderAnswers } from "../policy/facts.ts";
import { type HttpPart, type Journey, type JourneyStep, journey } from "../policy/journey.ts";
import type { NextHop } from "../policy/next-hop.ts";
import { renderDecision } from "../policy/render.ts";
import type { Trace } from "../policy/trace.ts";
import { resolveName } from "../ztunnel/names.ts";

export interface RequestQuestion {
  /** `<ns>/<service account>`, a workload's name, or an address that is nobody's. */
  readonly from: string;
  /** `<service>[.<ns>][:<port>]`, a host name, or an address with a port. */
  readonly to: string;
  /** undefined: a connection that is not HTTP. */
  readonly method: string | undefined;
  /** That a TLS client asks for. */
  readonly serverName?: string | undefined;
  /** With the query. */
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** What the authorizers of CUSTOM policies say; one that is not named lets it pass. */
  readonly answers: ProviderAnswers;
  /** Of weighted choices, from [0, 1). */
  readonly draw: number;
  /** Of a token that is taken for verified. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
}

/** A name that means nothing here. */
export class UnknownName extends Error {
  override readonly name = "UnknownName";
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** A stable interface for programs. */
export interface JourneyReport {
  readonly revision: number;
  readonly isAllowed: boolean;
  /** What the client gets from a proxy; absent: the backend's own answer. */
  readonly status?: number | undefined;
  readonly because?: string | undefined;
  /** `<namespace>/<name>` of the workload. */
  readonly reached?: string | undefined;
  /** The policy that decided, `<namespace>/<name>`, and its rule. */
  readonly policy?: string | undefined;
  readonly rule?: number | undefined;
  readonly hops: readonly HopReport[];
  /** All of it for people. */
  readonly text: string;
}

export interface HopReport {
  readonly proxy: "client's ztunnel" | "waypoint" | "ztunnel";
  /** The waypoint or the workload. */
  readonly name: string;
  readonly isAllowed: boolean;
  readonly text: string;
  /** Every policy and field that was looked at, and the route. */
  readonly trace?: Trace | undefined;
}

/** Throws UnknownName. */
export function explainRequest(snapshot: Snapshot, question: RequestQuestion): JourneyReport {
  return askMesh(snapshot, question).report;
}

export interface Answer {
  readonly way: Journey;
  readonly report: JourneyReport;
}

/** Throws UnknownName. */
export function askMesh(snapshot: Snapshot, question: RequestQuestion): Answer {
  const source = clientOf(snapshot, question.from);
  const { address, port, authority } = targetOf(snapshot, question.to, source);
  const http = httpOf(snapshot, question, authority);
  const sourceAddress = source?.addresses[0] ?? question.from;
  const { answers: providerAnswers, draw, serverName } = question;
  const nowMs = Date.now();
  const way = journey(snapshot, {
    ...{ source, sourceAddress, address, port, http, serverName, draw, nowMs, providerAnswers },
    jwt: jwtOf(question.claims),
  });
  return { way, report: reportOf(snapshot, question, source, way) };
}

function jwtOf(claims: RequestQuestion["claims"]): JwtFacts | undefined {
  if (claims === undefined) return undefined;
  const { iss, sub } = claims;
  const isKnown = typeof iss === "string" && typeof sub === "string";
  return { principal: isKnown ? `${iss}/${sub}` : undefined, claims };
}

function clientOf(snapshot: Snapshot, from: string): Workload | undefined {
  if (/^[0-9.]+$|:/.test(from)) {
    const [uid] = snapshot.addresses.get(from)?.workloads ?? [];
    return uid === undefined ? undefined : snapshot.workloads.get(uid);
  }
  const all = [...snapshot.workloads.values()];
  const byAccount = all.find((one) => `${one.namespace}/${one.serviceAccount}` === from);
  const found = byAccount ?? findMeant(from, all)[0];
  if (found !== undefined) return found;
  const names = all.flatMap((one) => [one.workloadName, `${one.namespace}/${one.serviceAccount}`]);
  const guess = nearest(from, names);
  const known = [...new Set(all.map((one) => one.workloadName))].join(", ") || "none";
  throw new UnknownName(
    `no workload is called ${from}, and none has that service account`,
    guess ? `Did you mean ${guess}?` : `There are: ${known}.`,
  );
}

interface Target {
  readonly address: string;
  readonly port: number;
  readonly authority: string;
}

function targetOf(snapshot: Snapshot, to: string, source: Workload | undefined): Target {
  const [, host = "", given] = /^(.*?)(?::(\d+))?$/.exec(to) ?? [];
  if (/^[0-9.]+$/.test(host)) {
    return { address: host, port: Number(given ?? 80), authority: to };
  }
  const service = resolveName(snapshot, source?.namespace ?? "default", host);
  if (service === undefined) {
    const all = [...snapshot.services.values()];
    const names = all.flatMap(({ name, namespace }) => [name, `${name}.${namespace}`]);
    const guess = nearest(host, names);
    const known = all.map(({ name, namespace }) => `${name}.${namespace}`).join(", ") || "none";
    throw new UnknownName(
      `no service is called ${host}`,
      guess ? `Did you mean ${guess}?` : `There are: ${known}.`,
    );
  }
  const port = given === undefined ? defaultPort(service) : Number(given);
  const [endpoint] = snapshot.endpoints.get(service.key) ?? [];
  const address = service.addresses[0] ?? endpoint?.address ?? "";
  return { address, port, authority: given === undefined ? host : to };
}

/** 80 if there is one, else the first. */
function defaultPort({ ports }: Service): number {
  return ports.find(({ port }) => port === 80)?.port ?? ports[0]?.port ?? 80;
}

function httpOf(
  snapshot: Snapshot,
  { method, path, headers }: RequestQuestion,
  authority: string,
): HttpPart | undefined {
  if (method === undefined) return undefined;
  const mark = path.indexOf("?");
  const plain = mark < 0 ? path : path.slice(0, mark);
  const values = new Map<string, string>();
  for (const [name, value] of headers) {
    const before = values.get(name.toLowerCase());
    values.set(name.toLowerCase(), before === undefined ? value : `${before},${value}`);
  }
  return {
    method,
    path: normalizePath(plain, snapshot.settings.pathNormalization) ?? plain,
    query: mark < 0 ? "" : path.slice(mark + 1),
    authority: values.get("host") ?? authority,
    header: (name) => values.get(name),
  };
}

function reportOf(
  snapshot: Snapshot,
  question: RequestQuestion,
  source: Workload | undefined,
  way: Journey,
): JourneyReport {
  const hops = [firstHop(way.first), ...way.steps.map((step) => hopOf(snapshot, step))];
  const deciding = way.steps.at(-1)?.decision?.verdict;
  const reached = way.reached && `${way.reached.namespace}/${way.reached.name}`;
  const { isAllowed, status, because } = way;
  const { policy, rule } = deciding ?? {};
  const outcome = { isAllowed, status, because, reached, policy, rule };
  const text = [
    `${whatIsAsked(question)} from ${whoIs(source, question)}`,
    "",
    ...hops.flatMap(({ proxy, name, text: lines }) => [
      name === "" ? proxy : `${proxy} ${name}`,
      ...lines.split("\n").map((line) => `  ${line}`),
      "",
    ]),
    conclusion(way, reached),
  ].join("\n");
  return { revision: snapshot.revision, ...outcome, hops, text };
}

function whatIsAsked({ method, to, path, serverName }: RequestQuestion): string {
  if (method !== undefined) return `${method} ${to}${path}`;
  return `a connection ${to}${serverName === undefined ? "" : `, server name ${serverName},`}`;
}

function whoIs(source: Workload | undefined, { from }: RequestQuestion): string {
  if (source === undefined) return `${from}, which is no workload: it has no identity`;
  const name = `${source.namespace}/${source.name}`;
  if (source.tunnelProtocol !== "HBONE") return `${name}, which is not in the mesh: no identity`;
  return `${name} (${workloadIdentity(source)})`;
}

function firstHop(first: NextHop): HopReport {
  const hop = { proxy: "client's ztunnel", name: "" } as const;
  switch (first.kind) {
    case "refused":
      return { ...hop, isAllowed: false, text: `REFUSED: ${first.because}` };
    case "passthrough":
      return { ...hop, isAllowed: true, text: "nobody here has that address: passed through" };
    case "direct": {
      const { namespace, name } = first.workload;
      return { ...hop, isAllowed: true, text: `in plain text to ${namespace}/${name}` };
    }
    case "tunnel": {
      const { namespace, name } = first.workload;
      const text =
        first.waypoint === undefined
          ? `by HBONE to ${namespace}/${name}: no waypoint stands before it`
          : `by HBONE to waypoint ${first.waypoint}`;
      return { ...hop, isAllowed: true, text };
    }
  }
}

function hopOf(snapshot: Snapshot, { hop, decision, authentication }: JourneyStep): HopReport {
  const workload = hop.proxy === "ztunnel" ? snapshot.workloads.get(hop.workload) : undefined;
  const name =
    hop.proxy === "waypoint" ? hop.waypoint : `of ${workload?.namespace}/${workload?.name}`;
  const lines: string[] = [];
  if (authentication?.isPassed === false) {
    lines.push(`REFUSED ${authentication.status}: ${authentication.reason}`);
  } else if (authentication?.jwt !== undefined) {
    lines.push(`token of ${authentication.jwt.principal ?? "nobody (it lacks iss or sub)"}`);
  }
  if (decision !== undefined) lines.push(renderDecision(decision));
  return {
    proxy: hop.proxy,
    name,
    isAllowed: decision?.verdict.isAllowed ?? false,
    text: lines.join("\n"),
    trace: decision?.trace,
  };
}

function conclusion({ isAllowed, status, because }: Journey, reached: string | undefined): string {
  const why = because === undefined ? "" : `: ${because}`;
  const code = status === undefined ? "" : ` ${status}`;
  if (!isAllowed) return `DENIED${code}${why}`;
  if (status !== undefined) return `ALLOWED, and answered${code} on the way${why}`;
  if (because !== undefined) return `ALLOWED, and closed on the way${why}`;
  return reached === undefined ? "ALLOWED" : `ALLOWED, reaches ${reached}`;
}
