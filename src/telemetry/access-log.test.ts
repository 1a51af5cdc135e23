import { expect, test } from "vitest";
import { AccessLog, type AccessRecord } from "./access-log.ts";
import type { LineSink } from "./line-queue.ts";
import { MetricRegistry } from "./metrics.ts";

const RECORD: AccessRecord = {
  startMs: 0,
  method: "GET",
  path: "/",
  protocol: "HTTP/2",
  responseCode: 503,
  responseFlags: "UH",
  responseCodeDetails: "no_healthy_upstream",
  connectionTerminationDetails: "",
  bytesReceived: 1,
  bytesSent: 2,
  durationMs: 3,
  upstreamServiceTimeMs: -1,
  forwardedFor: "",
  userAgent: "",
  requestId: "",
  authority: "a",
  upstreamHost: "",
  upstreamCluster: "",
  upstreamLocalAddress: "",
  downstreamLocalAddress: "",
  downstreamRemoteAddress: "",
  requestedServerName: "",
  routeName: "",
  upstreamTransportFailureReason: "",
};

class Memory implements LineSink {
  text = "";
  reopened = 0;
  error: Error | undefined;

  write(bytes: Buffer, done: (error?: Error) => void): void {
    if (this.error === undefined) this.text += bytes.toString();
    setImmediate(done, this.error);
  }

  reopen(): void {
    this.reopened++;
  }

  async close(): Promise<void> {}
}

test("AccessLog writes a line per record, at the latest at flush()", async () => {
  const sink = new Memory();
  const log = new AccessLog({
    file: "/dev/stdout",
    encoding: "TEXT",
    format: "%RESPONSE_CODE% %REQ(:PATH)%",
    sink,
  });
  expect(log.isOn).toBe(true);
  const reused = { ...RECORD };
  log.write(reused);
  reused.path = "/two";
  log.write(reused);
  await log.flush();
  expect(sink.text).toBe("503 /\n503 /two\n");
  log.reopen();
  expect(sink.reopened).toBe(1);
  await log.close();
});

test("AccessLog writes JSON, and tells what is wrong with its format", async () => {
  const sink = new Memory();
  const log = new AccessLog({
    file: "x",
    encoding: "JSON",
    format: '{"code":"%RESPONSE_CODE%","bad":"%WHAT%"}',
    sink,
  });
  expect(log.problems).toEqual(["%WHAT% is not an operator that is known here"]);
  log.write(RECORD);
  await log.close();
  expect(sink.text).toBe('{"code":503,"bad":null}\n');
});

test("AccessLog without a file is off and writes nothing", async () => {
  const sink = new Memory();
  const log = new AccessLog({ file: "", encoding: "TEXT", format: "", sink });
  expect(log.isOn).toBe(false);
  log.write(RECORD);
  await log.flush();
  await log.close();
  expect(sink.text).toBe("");
});

test("AccessLog counts lost lines in a metric", async () => {
  const registry = new MetricRegistry();
  const sink = new Memory();
  sink.error = new Error("disk full");
  const log = new AccessLog({ file: "x", encoding: "TEXT", format: "", registry, sink });
  log.write(RECORD);
  log.write(RECORD);
  await log.close();
  expect(registry.expose()).toContain(
    'waystone_access_log_dropped_lines_total{reason="write_failed"} 2\n',
  );
});
