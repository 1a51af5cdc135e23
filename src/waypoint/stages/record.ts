/**
 * What is written down when an exchange is over, whatever way it ended: Istio's metrics, the access
 * log line, and the decision when the client asked to have it explained.
 */
import { formatAuthority } from "../../net/hbone/authority.ts";
import type { TunnelConnection } from "../../net/hbone/tunnel-server.ts";
import { destinationLabels } from "../../telemetry/istio-metrics.ts";
import type { Cluster, UpstreamEndpoint } from "../cluster.ts";
import type { WaypointContext } from "../context.ts";
import type { Exchange } from "../exchange.ts";
import type { LocalReply } from "../local-replies.ts";
import type { Target } from "../target.ts";

export function record(exchange: Exchange): void {
  const durationMs = performance.now() - exchange.startMs;
  recordMetrics(exchange, durationMs);
  if (exchange.context.accessLog.isOn) recordAccess(exchange, durationMs);
  if (exchange.decisionId !== "") recordDecision(exchange);
}

/** The one that answered, or that was tried last. */
function lastEndpoint({ endpoint, tried }: Exchange): UpstreamEndpoint | undefined {
  return endpoint ?? tried.at(-1);
}

function recordMetrics(exchange: Exchange, durationMs: number): void {
  const { cluster, target } = exchange;
  const endpoint = lastEndpoint(exchange);
  const destination =
    endpoint?.labels ??
    destinationLabels(undefined, (cluster ?? target.cluster).service, undefined);
  exchange.context.requests
    .series(
      exchange.sourceLabels,
      destination,
      exchange.isGrpc ? "grpc" : "http",
      exchange.status,
      exchange.flags,
      "mutual_tls",
      exchange.grpcStatus,
    )
    .record(
      durationMs,
      exchange.requestHeaderBytes + exchange.requestBodyBytes,
      exchange.responseHeaderBytes + exchange.responseBodyBytes,
    );
}

function recordAccess(exchange: Exchange, durationMs: number): void {
  const { session, target } = exchange;
  const endpoint = lastEndpoint(exchange);
  const cluster = exchange.cluster ?? target.cluster;
  exchange.context.accessLog.write({
    ...addressesOf(session.connection, target),
    startMs: exchange.startWallMs,
    method: exchange.method,
    path: exchange.query === "" ? exchange.path : `${exchange.path}?${exchange.query}`,
    protocol: session.isHttp2 ? "HTTP/2" : "HTTP/1.1",
    responseCode: exchange.status,
    responseFlags: exchange.flags,
    responseCodeDetails: exchange.details,
    connectionTerminationDetails: "",
    bytesReceived: exchange.requestBodyBytes,
    bytesSent: exchange.responseBodyBytes,
    durationMs: Math.round(durationMs),
    upstreamServiceTimeMs: exchange.upstreamServiceTimeMs,
    forwardedFor: exchange.forwardedFor,
    userAgent: exchange.userAgent,
    requestId: exchange.requestId,
    decisionId: exchange.isDecisionTold ? exchange.decisionId : "",
    authority: exchange.authority,
    upstreamHost: endpoint ? formatAuthority(endpoint.address, endpoint.targetPort) : "",
    upstreamCluster: cluster.name,
    routeName: exchange.choice?.name ?? "",
    upstreamTransportFailureReason: exchange.transportFailure,
  });
}

function addressesOf(connection: TunnelConnection, target: Target) {
  const { remoteAddress, remotePort } = connection;
  return {
    upstreamLocalAddress: "",
    downstreamLocalAddress: formatAuthority(target.address, target.port),
    downstreamRemoteAddress: formatAuthority(remoteAddress, remotePort),
    requestedServerName: "",
  };
}

/** What there is to say when there was no request, or none that could be read. */
const NOTHING = {
  method: "",
  path: "",
  protocol: "",
  responseCode: 0,
  connectionTerminationDetails: "",
  bytesReceived: 0,
  bytesSent: 0,
  durationMs: 0,
  upstreamServiceTimeMs: -1,
  forwardedFor: "",
  userAgent: "",
  requestId: "",
  decisionId: "",
  authority: "",
  upstreamHost: "",
  upstreamCluster: "",
  routeName: "",
  upstreamTransportFailureReason: "",
};

/** A request that was refused before it was one. */
export function recordRefused(
  context: WaypointContext,
  session: { isHttp2: boolean; connection: TunnelConnection },
  target: Target,
  reply: LocalReply,
): void {
  context.countRefused(reply);
  if (!context.accessLog.isOn) return;
  context.accessLog.write({
    ...NOTHING,
    ...addressesOf(session.connection, target),
    startMs: Date.now(),
    protocol: session.isHttp2 ? "HTTP/2" : "HTTP/1.1",
    responseCode: reply.status,
    responseFlags: reply.flags,
    responseCodeDetails: reply.details,
    bytesSent: reply.body.length,
  });
}

export interface TcpRecord {
  readonly startMs: number;
  readonly durationMs: number;
  readonly flags: string;
  /** Where it went, or would have gone. */
  readonly cluster: Cluster;
  readonly endpoint: UpstreamEndpoint | undefined;
  /** Of TLS that is passed through, where it had to be known. */
  readonly serverName: string;
  readonly routeName: string;
  readonly sent: number;
  readonly received: number;
  /** The policy that denied it, as for requests; empty when it was let in. */
  readonly details: string;
  readonly transportFailure: string;
}

/** A TCP connection that has ended, or was never let in. */
export function recordTcp(
  context: WaypointContext,
  connection: TunnelConnection,
  target: Target,
  record: TcpRecord,
): void {
  const { endpoint, flags } = record;
  if (!context.accessLog.isOn) return;
  context.accessLog.write({
    ...NOTHING,
    ...addressesOf(connection, target),
    startMs: record.startMs,
    responseFlags: flags,
    responseCodeDetails: "",
    connectionTerminationDetails: record.details,
    bytesReceived: record.received,
    bytesSent: record.sent,
    durationMs: Math.round(record.durationMs),
    upstreamHost: endpoint ? formatAuthority(endpoint.address, endpoint.targetPort) : "",
    upstreamCluster: record.cluster.tcpName,
    upstreamTransportFailureReason: record.transportFailure,
    requestedServerName: record.serverName,
    routeName: record.routeName,
  });
}

function recordDecision(exchange: Exchange): void {
  const { target, context, snapshot } = exchange;
  context.decisions.record({
    id: exchange.decisionId,
    requestId: exchange.requestId,
    proxy: "waypoint",
    target: target.service ?? target.workload ?? "",
    atMs: Date.now(),
    facts: {
      sourceIdentity: exchange.sourceIdentity,
      sourceAddress: exchange.sourceAddress,
      destinationAddress: exchange.destinationAddress,
      destinationPort: exchange.destinationPort,
      method: exchange.method,
      path: exchange.path,
      query: exchange.query,
      authority: exchange.authority,
      headers: exchange.decisionHeaders,
      providerAnswers: exchange.providerAnswers,
      jwt: exchange.jwt,
      remoteAddress: exchange.remoteAddress,
    },
    snapshot,
    payload: {
      hop: target.hop,
      draw: exchange.draw,
      ...(exchange.backend !== undefined && { isDrawn: true }),
      status: exchange.status,
      flags: exchange.flags,
      servedBy: exchange.endpoint?.workload.name ?? "",
      ...(exchange.refusal !== undefined && { refusal: exchange.refusal }),
    },
  });
}
