import { expect, test } from "vitest";
import { Failure } from "../kit/failure.ts";
import type { Logger } from "../kit/log.ts";
import { MetricRegistry } from "./metrics.ts";
import { PeerErrors } from "./peer-errors.ts";

test("counts every mistake and writes a few lines of each kind", () => {
  const lines: unknown[] = [];
  const logger = { warn: (...line: unknown[]) => lines.push(line) } as unknown as Logger;
  const registry = new MetricRegistry();
  const errors = new PeerErrors(registry, logger);
  const error = { code: "PROTOCOL_ERROR", detail: "§6.7: PING on a stream", stream: 0 };
  for (let i = 0; i < 50; i++) errors.http2("tunnel_listener", error, "spiffe://a");
  errors.http2("upstream", { ...error, code: "FLOW_CONTROL_ERROR" }, "10.0.0.1");
  for (let i = 0; i < 50; i++) errors.tls(new Failure("TOO_MANY_CONNECTIONS", "9"), "10.0.0.2");
  errors.malformedConnect("spiffe://a");
  const exposed = registry.expose();
  for (const line of [
    'waystone_http2_protocol_errors_total{role="tunnel_listener",code="PROTOCOL_ERROR"} 50',
    'waystone_http2_protocol_errors_total{role="upstream",code="FLOW_CONTROL_ERROR"} 1',
    'waystone_tls_refused_total{code="TOO_MANY_CONNECTIONS"} 50',
    "waystone_tunnel_malformed_requests_total 1",
  ]) {
    expect(exposed).toContain(line);
  }
  expect(lines).toHaveLength(5 + 1 + 5 + 1);
  expect(lines[0]).toEqual([
    { peer: "spiffe://a", role: "tunnel_listener", ...error },
    "the peer broke HTTP/2",
  ]);
});
