/**
 * One HTTP request as a workload of the running mesh, and what decided about it: the client side of
 * `waystone request` and of the demo.
 *
 * It goes from the workload's own address to the service's, as the workload's own program would do
 * it (where the system has only 127.0.0.1: through the SOCKS5 port). A header asks the proxies to
 * keep the decision under an id; the admin port is asked for it afterwards.
 */
import { randomUUID } from "node:crypto";
import http from "node:http";
import net from "node:net";
import type { DecisionReport } from "../agent/decision-report.ts";
import { nearest } from "../kit/nearest.ts";
import type { EchoAnswer } from "../local/echo-answer.ts";
import type { MeshReport, WorkloadReport } from "../local/mesh-report.ts";
import { usageError } from "./command-error.ts";
import type { RunningMesh } from "./running-mesh.ts";
import { connectSocks } from "./socks-connect.ts";

export interface RequestPlan {
  readonly workload: WorkloadReport;
  readonly method: string;
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string | undefined;
}

export interface RequestResult {
  /** 0: the connection was cut before there was an answer. */
  readonly status: number;
  readonly statusText: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  /** Name of the workload that answered; empty when it is not known. */
  readonly servedBy: string;
  readonly decision: DecisionReport | undefined;
  /** Why there was no answer; empty when there was one. */
  readonly failure: string;
}

/** Asks the waypoint to record the decision under that id; it is not passed on. */
const DECISION_HEADER = "x-waystone-decision";
const REQUEST_TIMEOUT_MS = 60_000;
const BODY_BYTES_MAX = 16 * 1024 * 1024;
/** 1, 2, 4 … ms: half a second together. */
const DECISION_ATTEMPTS = 9;

interface Answer {
  readonly status: number;
  readonly statusText: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export async function sendRequest(
  mesh: RunningMesh,
  report: MeshReport,
  plan: RequestPlan,
): Promise<RequestResult> {
  const url = parseUrl(plan.url);
  const port = Number(url.port || 80);
  const address = await addressOf(mesh, report, plan, url.hostname.replace(/^\[|\]$/g, ""));
  const id = randomUUID();
  const startMs = Date.now();
  let answer: Answer;
  try {
    const socket = await connectAs(mesh, plan.workload, address, port);
    answer = await exchange(socket, url, plan, id);
  } catch (caught) {
    const refused = (await mesh.refusals(plan.workload.address, startMs))[0];
    // Without a way to go no policy decided: the reason is all there is to tell.
    const decision = refused?.refusal === undefined ? refused : undefined;
    const failure =
      refused === undefined ? explainCut(caught, report, address, port) : refused.refusal;
    const reset = "the connection was closed without an answer";
    const nothing = { status: 0, statusText: "", headers: {}, body: "", servedBy: "" };
    return { ...nothing, decision, failure: failure || reset };
  }
  // Where answers say the id the mesh has chosen it, and not we.
  const told = answer.headers[DECISION_HEADER];
  const decision = await decisionOf(mesh, typeof told === "string" ? told : id);
  const servedBy = decision?.servedBy || (echoAnswer(answer.body)?.workload ?? "");
  return { ...answer, servedBy, decision, failure: "" };
}

function parseUrl(text: string): URL {
  const full = text.includes("://") ? text : `http://${text}`;
  if (!URL.canParse(full)) throw usageError(`${text} is not a URL`);
  const url = new URL(full);
  if (url.protocol === "http:") return url;
  throw usageError(
    `${url.protocol}// is not spoken between workloads here`,
    "Write http://; the mesh encrypts what is between the workloads.",
  );
}

async function addressOf(
  mesh: RunningMesh,
  report: MeshReport,
  plan: RequestPlan,
  host: string,
): Promise<string> {
  if (net.isIP(host) !== 0) return host;
  const resolved = await mesh.resolve(plan.workload.namespace, host);
  if (resolved !== undefined) return resolved.address;
  const names = report.services.map((service) =>
    service.namespace === plan.workload.namespace
      ? service.name
      : `${service.name}.${service.namespace}`,
  );
  const guess = nearest(host, names);
  throw usageError(
    `${host} is not the name of a service for a workload in ${plan.workload.namespace}`,
    guess ? `Did you mean ${guess}?` : `There are: ${names.join(", ") || "none"}.`,
  );
}

function connectAs(
  mesh: RunningMesh,
  workload: WorkloadReport,
  host: string,
  port: number,
): Promise<net.Socket> {
  if (mesh.run.addressMode === "ports") {
    const user = `${workload.namespace}/${workload.name}`;
    return connectSocks(mesh.run.socks, { user, password: mesh.run.token }, host, port);
  }
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, localAddress: workload.address });
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}

function exchange(socket: net.Socket, url: URL, plan: RequestPlan, id: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({
      createConnection: () => socket,
      method: plan.method,
      path: url.pathname + url.search,
      headers: headersOf(url, plan, id),
      timeout: REQUEST_TIMEOUT_MS,
    });
    // One that comes through SOCKS5 is paused.
    request.once("socket", () => socket.resume());
    request.once("timeout", () => request.destroy(new Error("no answer within 60 s")));
    request.once("error", reject);
    request.once("response", (response) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      response.on("data", (piece: Buffer) => {
        bytes += piece.length;
        if (bytes <= BODY_BYTES_MAX) pieces.push(piece);
      });
      response.once("error", reject);
      response.once("end", () => {
        socket.destroy();
        resolve({
          status: response.statusCode ?? 0,
          statusText: response.statusMessage ?? "",
          headers: response.headers,
          body: Buffer.concat(pieces).toString(),
        });
      });
    });
    request.end(plan.body);
  });
}

function headersOf(url: URL, plan: RequestPlan, id: string): string[] {
  const own = plan.headers.flat();
  const has = (wanted: string) => plan.headers.some(([name]) => name.toLowerCase() === wanted);
  const headers = [...own, DECISION_HEADER, id, "connection", "close"];
  if (!has("host")) headers.unshift("host", url.host);
  if (!has("user-agent")) headers.push("user-agent", "waystone");
  const hasBody = plan.body !== undefined || /^(POST|PUT|PATCH)$/.test(plan.method);
  if (hasBody && !has("content-length") && !has("transfer-encoding")) {
    headers.push("content-length", String(Buffer.byteLength(plan.body ?? "")));
  }
  return headers;
}

/** The decision is written down when the exchange is over, which may be a moment after us. */
async function decisionOf(mesh: RunningMesh, id: string): Promise<DecisionReport | undefined> {
  for (let attempt = 0; attempt < DECISION_ATTEMPTS; attempt++) {
    const decision = await mesh.decision(id);
    if (decision !== undefined) return decision;
    await new Promise((resolve) => setTimeout(resolve, 2 ** attempt));
  }
  return undefined;
}

/** Nothing was recorded (no ztunnel is there): what the mesh's tables say about that address. */
function explainCut(caught: unknown, report: MeshReport, address: string, port: number): string {
  const service = report.services.find((s) => s.address === address);
  if (service === undefined) return messageOf(caught);
  if (!service.ports.some((p) => p.port === port)) {
    const ports = service.ports.map((p) => p.port).join(", ");
    return `service ${service.hostname} has no port ${port} (it has ${ports})`;
  }
  if (service.waypoint.includes("(")) {
    return `traffic to ${service.hostname} is refused: waypoint ${service.waypoint}`;
  }
  if (service.healthyEndpoints === 0) {
    return `service ${service.hostname} has no healthy endpoint (of ${service.endpoints})`;
  }
  return messageOf(caught);
}

function messageOf(caught: unknown): string {
  return caught instanceof Error ? caught.message : String(caught);
}

/** The answer of the built-in echo; undefined when it is somebody else's. */
export function echoAnswer(body: string): EchoAnswer | undefined {
  try {
    const answer = JSON.parse(body) as Partial<EchoAnswer> | null;
    const isEcho = typeof answer?.workload === "string" && typeof answer.bodyBytes === "number";
    return isEcho ? (answer as EchoAnswer) : undefined;
  } catch {
    return undefined;
  }
}
