/**
 * The clients of a control plane under measurement, all in one process that is not the server's: the
 * first few are the product's own, with all that a proxy keeps, the others only answer and count.
 * Needs `npm run build`.
 */
import { AdsClient } from "../../dist/agent/ads-client.js";
import { GrpcChannel } from "../../dist/agent/grpc-channel.js";
import { MeshState } from "../../dist/agent/mesh-state.js";
import { setLogLevel } from "../../dist/kit/log.js";
import { MetricRegistry } from "../../dist/telemetry/metrics.js";
import { contentsHash, versionsHash } from "./contents-hash.mjs";
import { LightAdsClient, subscription } from "./light-ads-client.mjs";
import { answerCalls } from "./process-calls.mjs";

setLogLevel("fatal");

const TYPES = new MeshState().types;

let at;
let clients = [];
/** Kind of proxy and gateway → type → name → version: what clients had when they left. */
const remembered = new Map();
let turmoil;

class RealClient {
  state = new MeshState();
  registry = new MetricRegistry();
  #channel;
  #client;

  constructor(node) {
    const { port, rootsPem } = at;
    const channel = { host: "localhost", port, roots: async () => rootsPem };
    this.#channel = new GrpcChannel({
      ...channel,
      token: async () => "good",
      clusterId: "Kubernetes",
    });
    this.#client = new AdsClient({
      ...{ channel: this.#channel, node, sink: this.state, registry: this.registry },
      backoffMaxMs: 200,
    });
    this.#client.start();
  }

  /** Of the resources alone. */
  get bytes() {
    const lines = this.registry.expose().split("\n");
    const own = lines.filter((line) => line.startsWith("istio_xds_message_bytes_total{"));
    return own.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  close() {
    this.#client.close();
    this.#channel.close();
  }
}

/** As the product's proxies name themselves; `name` comes first, so that a test knows them. */
function nodeOf(kind, name, gateway) {
  const metadata = gateway === undefined ? {} : { GATEWAY: gateway };
  return { id: `${kind}~10.9.0.1~${name}.test~test.svc.cluster.local`, metadata };
}

/**
 * `count` clients of a kind, the first `real` of them the product's own; `gateways`: each
 * waypoint's, in turn; `isReconnect`: they say what those before them held.
 */
function connect({ count, real = 0, kind = "ztunnel", gateways = [], isReconnect, ...options }) {
  const { answers, keepsVersions = false } = options;
  const bySubscriber = new Map();
  for (let i = 0; i < count; i++) {
    const gateway = gateways[i % gateways.length];
    const node = nodeOf(kind, `${kind}-${i}`, gateway);
    if (i < real) {
      clients.push(new RealClient(node));
      continue;
    }
    const key = `${kind} ${gateway}`;
    const isFirst = !bySubscriber.has(key);
    if (isFirst) {
      const held = isReconnect ? remembered.get(key) : undefined;
      bySubscriber.set(
        key,
        TYPES.map((type) => subscription(type, held?.get(type))),
      );
    }
    const subscriptions = bySubscriber.get(key);
    const client = new LightAdsClient({
      ...{ ...at, node, subscriptions, answers },
      keepsVersions: keepsVersions || (isFirst && !isReconnect && answers === "ack"),
    });
    if (isFirst && client.versions !== undefined) remembered.set(key, client.versions);
    clients.push(client);
  }
}

/** One client that leaves as soon as it has said hello, and comes back, until it is told to end. */
function comeAndGo() {
  const node = nodeOf("silent", "restless");
  const subscriptions = TYPES.map((type) => subscription(type));
  let client;
  let visits = 0;
  const timer = setInterval(() => {
    client?.close();
    client = new LightAdsClient({ ...at, node, subscriptions });
    visits++;
  }, 50);
  return () => {
    clearInterval(timer);
    client?.close();
    return visits;
  };
}

answerCalls({
  at: (server) => {
    at = server;
  },
  connect,
  /** Bytes that each client has had since the last call. */
  bytes: () =>
    clients.map((client) => {
      const bytes = client.bytes - (client.seenBytes ?? 0);
      client.seenBytes = client.bytes;
      return bytes;
    }),
  comeAndGo: () => {
    turmoil = comeAndGo();
  },
  settle: () => turmoil?.(),
  /** What those hold that keep it. */
  hashes: () =>
    clients.flatMap(({ state, versions }) => {
      if (state !== undefined) return [contentsHash(state.current)];
      return versions === undefined ? [] : [versionsHash(versions)];
    }),
  leave: () => {
    for (const client of clients) client.close();
    clients = [];
  },
});
