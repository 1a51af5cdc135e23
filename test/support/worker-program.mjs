/**
 * The worker processes of test/integration/workers.test.ts: the product's own, as built, with
 * programs that a test can look into. Needs `npm run build`, as `npm test` does it.
 *
 * - `tunnel` answers every CONNECT and writes its process id into the stream.
 * - `waypoint` is the waypoint over the manifests that its options name.
 */
import { ControlPlane } from "../../dist/control/control-plane.js";
import { FileSource } from "../../dist/control/source/files.js";
import { TunnelServer } from "../../dist/net/hbone/tunnel-server.js";
import { TUNNEL_LIMITS } from "../../dist/net/http2/limits.js";
import { runWorker } from "../../dist/process/workers/worker.js";
import { AccessLog } from "../../dist/telemetry/access-log.js";
import { DecisionLog } from "../../dist/telemetry/decision-log.js";
import { Waypoint } from "../../dist/waypoint/waypoint.js";

/** Resources as they come; a name with `bad` in it cannot be taken, one with `stop` stops a commit. */
class NamesSink {
  types = [];
  held = new Map();
  staged = new Map();
  revision = 0;

  versions() {
    return this.held;
  }

  stage(_type, upserted, removed) {
    for (const name of removed) this.staged.set(name, undefined);
    const isBad = ({ name }) => name.includes("bad");
    for (const resource of upserted) {
      if (!isBad(resource)) this.staged.set(resource.name, Buffer.from(resource.bytes).toString());
    }
    return upserted.filter(isBad).map(({ name }) => `${name}: bad`);
  }

  commit({ id }) {
    if ([...this.staged].some(([name, text]) => name.includes("stop") && text)) return "stopped";
    for (const [name, text] of this.staged) {
      if (text === undefined) this.held.delete(name);
      else this.held.set(name, text);
    }
    this.staged.clear();
    this.revision = id;
    return undefined;
  }
}

async function identityReady({ certificates, readiness }, spiffeId) {
  readiness.require("certificate", "none yet");
  await certificates.get(spiffeId);
  readiness.meet("certificate");
}

function tunnel(context) {
  const { spiffeId, file } = context.options;
  const sink = new NamesSink();
  const opened = context.registry.counter("test_opened_total", "Streams opened.");
  const open = context.registry.gauge("test_open", "Streams open.");
  const accessLog = new AccessLog({
    file: file ?? "",
    encoding: "TEXT",
    format: `${process.pid} %REQ(:AUTHORITY)%\n`,
    sink: context.lineSink(file ?? ""),
  });
  const server = new TunnelServer(
    {
      identity: () => context.certificates.current(spiffeId),
      trustDomains: () => ["cluster.local"],
      limits: TUNNEL_LIMITS,
      handshakeTimeoutMs: 5_000,
    },
    {
      onConnect(stream, { authority }) {
        opened.child([]).add(1);
        open.child([]).add(1);
        stream.consumer = {
          onData(bytes, start, end) {
            stream.credit(end - start);
            stream.write(bytes, start, end, null);
          },
          onEnd: () => stream.end(),
          onClosed: () => open.child([]).add(-1),
        };
        stream.respond([":status", "200"], false);
        const text = Buffer.from(`${process.pid}\n`);
        stream.write(text, 0, text.length, null);
        if (authority.startsWith("log:")) accessLog.write({ authority });
        if (authority.startsWith("crash:")) process.kill(process.pid, "SIGKILL");
      },
    },
  );
  context.drain.add({ drain: () => server.drain(), destroy: () => server.destroy() });
  void identityReady(context, spiffeId);
  return {
    state: sink,
    accept: (socket) => server.accept(socket),
    get load() {
      return { streams: server.streamCount, connections: server.connectionCount };
    },
    configDump: () => ({ revision: sink.revision, held: [...sink.held] }),
    decision: (id) => (id === String(process.pid) ? { id, index: context.index } : undefined),
    close: () => accessLog.close(),
  };
}

async function waypoint(context) {
  const { spiffeId, manifests, backendPort } = context.options;
  const control = new ControlPlane({ enrolment: "label" });
  const source = new FileSource([manifests]);
  control.apply((await source.start()).change);
  source.close();
  const accessLog = new AccessLog({ file: "", encoding: "TEXT", format: "" });
  const made = new Waypoint({
    key: "default/waypoint",
    spiffeId,
    snapshots: control,
    certificates: context.certificates,
    registry: context.registry,
    accessLog,
    decisions: new DecisionLog(),
    drain: context.drain,
    limits: { drainGraceMs: 1_000 },
    sourceAddress: undefined,
    tunnelAddress: () => ({ host: "127.0.0.1", port: backendPort }),
  });
  void identityReady(context, spiffeId);
  return {
    state: new NamesSink(),
    accept: (socket) => made.acceptTunnel(socket),
    get load() {
      return made.load;
    },
    configDump: () => ({}),
    decision: () => undefined,
    close: () => accessLog.close(),
  };
}

await runWorker({ tunnel: async () => tunnel, waypoint: async () => waypoint });
