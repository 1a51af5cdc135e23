/**
 * What is written down when an exchange is over, whatever way it ended: Istio's metrics, the access
 * log line, and the decision when the client asked to have it explained.
 */
import { formatAuthority } from "../../net/hbone/authority.ts";
import { destinationLabels } from "../../telemetry/istio-metrics.ts";
import type { Exchange } from "../exchange.ts";

export function record(exchange: Exchange): void {
  const durationMs = performance.now() - exchange.startMs;
  recordMetrics(exchange, durationMs);
  if (exchange.context.accessLog.isOn) recordAccess(exchange, durationMs);
  if (exchange.decisionId !== "") recordDecision(exchange);
}

function recordMetrics(exchange: Exchange, durationMs: number): void {
  const { endpoint, cluster, target } = exchange;
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
  const { endpoint, session, target } = exchange;
  const cluster = exchange.cluster ?? target.cluster;
  exchange.context.accessLog.write({
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
    authority: exchange.authority,
    upstreamHost: endpoint ? formatAuthority(endpoint.address, endpoint.targetPort) : "",
    upstreamCluster: cluster.name,
    upstreamLocalAddress: "",
    downstreamLocalAddress: formatAuthority(target.address, target.port),
    downstreamRemoteAddress: formatAuthority(
      session.connection.remoteAddress,
      session.connection.remotePort,
    ),
    requestedServerName: "",
    routeName: exchange.choice?.name ?? "",
    upstreamTransportFailureReason: exchange.transportFailure,
  });
}

function recordDecision(exchange: Exchange): void {
  const { target, context, snapshot } = exchange;
  context.decisions.record({
    id: exchange.decisionId,
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
    },
    snapshot,
    payload: {
      hop: target.hop,
      draw: exchange.draw,
      status: exchange.status,
      flags: exchange.flags,
      servedBy: exchange.endpoint?.workload.name ?? "",
    },
  });
}
