/**
 * What a waypoint's port shows to a stranger, and to a client of the mesh who asks for what is not
 * this waypoint's: TLS 1.3, ALPN h2, a client certificate demanded, foreign authorities refused.
 */
import { cp, mkdtemp, rm } from "node:fs/promises";
import http2 from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import tls from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Certificates } from "../../src/agent/certificates.ts";
import { MeshCertificateAuthority } from "../../src/control/certificate-authority.ts";
import { Failure } from "../../src/kit/failure.ts";
import { log, setLogLevel } from "../../src/kit/log.ts";
import { LocalMesh } from "../../src/local/local-mesh.ts";
import { TunnelPool } from "../../src/net/hbone/tunnel-pool.ts";
import { TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import { makeTlsIdentity } from "../../src/net/tls.ts";

setLogLevel("silent");

let state: string;
let mesh: LocalMesh;
let certificates: Certificates;
let pool: TunnelPool;

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), "waystone-tunnel-"));
  await cp("examples/bookinfo", join(state, "manifests"), { recursive: true });
  await cp("examples/mlflow", join(state, "manifests/mlflow"), { recursive: true });
  mesh = await LocalMesh.start({
    paths: [join(state, "manifests")],
    overrides: [],
    stateDirectory: state,
    addressSeed: state,
    version: "0.0.0",
    adminPort: 0,
    metricsPort: 0,
    readinessPort: 0,
    socksPort: 0,
    drainTimeoutMs: 1_000,
    onEvent: () => {},
    onQuit: () => {},
  });
  const authority = await MeshCertificateAuthority.open({
    directory: state,
    trustDomain: "cluster.local",
  });
  certificates = new Certificates(authority, { ttlMs: 3_600_000, log: log("test") });
  pool = new TunnelPool({
    connectTimeoutMs: 2_000,
    maxStreamsPerConnection: 100,
    idleTimeoutMs: 60_000,
    limits: TUNNEL_LIMITS,
  });
});

afterAll(async () => {
  pool.destroy();
  certificates.close();
  await mesh.stop(500);
  await rm(state, { recursive: true });
});

/** The address of a waypoint's pod. */
function waypointAddress(name: string): string {
  const { workloads } = mesh.report();
  return workloads.find((w) => w.workloadName === name)!.address;
}

function serviceAddress(name: string): string {
  return mesh.report().services.find((s) => s.name === name)!.address;
}

/** The status of a CONNECT to the bookinfo waypoint: 200, or why not. */
async function connect(authority: string, serviceAccount: string): Promise<number> {
  const spiffeId = `spiffe://cluster.local/ns/bookinfo/sa/${serviceAccount}`;
  const identity = await certificates.get(spiffeId);
  const target = {
    host: waypointAddress("bookinfo-waypoint"),
    port: 15008,
    expected: ["spiffe://cluster.local/ns/bookinfo/sa/bookinfo-waypoint"],
    identity: () => identity,
    sourceAddress: undefined,
    poolKey: spiffeId,
  };
  return await new Promise((resolve, reject) => {
    pool.open(
      target,
      { authority, headers: [] },
      {
        onOpen: (stream) => {
          stream.reset("cancel");
          resolve(200);
        },
        onRefused: (failure, status) => (status > 0 ? resolve(status) : reject(failure)),
      },
    );
  });
}

test("the waypoint's port speaks TLS 1.3 with ALPN h2 and demands a client certificate", async () => {
  const { rootsPem } = await certificates.get("spiffe://cluster.local/ns/x/sa/y");
  const seen = await new Promise<{ protocol: string | null; alpn: unknown; end: string }>(
    (resolve, reject) => {
      const socket = tls.connect({
        host: waypointAddress("bookinfo-waypoint"),
        port: 15008,
        ca: rootsPem,
        ALPNProtocols: ["h2"],
        checkServerIdentity: () => undefined,
      });
      let protocol: string | null = null;
      let alpn: unknown;
      let end = "";
      socket.once("secureConnect", () => {
        protocol = socket.getProtocol();
        alpn = socket.alpnProtocol;
      });
      socket.on("error", (error: NodeJS.ErrnoException) => {
        end = error.code ?? error.message;
      });
      socket.once("close", () => resolve({ protocol, alpn, end }));
      setTimeout(() => reject(new Error("the connection was not closed")), 5_000).unref();
    },
  );
  expect(seen.protocol).toBe("TLSv1.3");
  expect(seen.alpn).toBe("h2");
});

test("a client of the mesh gets to the waypoint's own services", async () => {
  const authority = `${serviceAddress("reviews")}:9080`;
  expect(await connect(authority, "bookinfo-productpage")).toBe(200);
});

test("a valid client is refused every authority that is not this waypoint's", async () => {
  // Of another waypoint, of nobody, of a workload (this waypoint serves services), of no port.
  expect(await connect(`${serviceAddress("mlflow")}:5000`, "bookinfo-productpage")).toBe(404);
  expect(await connect("192.0.2.1:80", "bookinfo-productpage")).toBe(404);
  expect(await connect(`${waypointAddress("reviews-v1")}:9080`, "bookinfo-productpage")).toBe(404);
  expect(await connect(`${serviceAddress("reviews")}:9081`, "bookinfo-productpage")).toBe(404);
  expect(await connect("reviews", "bookinfo-productpage")).toBe(400);
});

test("a client that was certified by somebody else is refused", async () => {
  const elsewhere = await mkdtemp(join(tmpdir(), "waystone-other-"));
  const authority = await MeshCertificateAuthority.open({
    directory: elsewhere,
    trustDomain: "cluster.local",
  });
  const others = new Certificates(authority, { ttlMs: 3_600_000, log: log("test") });
  const identity = await others.get("spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage");
  const { rootsPem } = await certificates.get("spiffe://cluster.local/ns/x/sa/y");
  const target = {
    host: waypointAddress("bookinfo-waypoint"),
    port: 15008,
    expected: ["spiffe://cluster.local/ns/bookinfo/sa/bookinfo-waypoint"],
    // It trusts this mesh's roots, so that it is the server who refuses.
    identity: () => makeTlsIdentity({ ...identity, rootsPem }),
    sourceAddress: undefined,
    poolKey: "other",
  };
  const failure = await new Promise<Failure>((resolve, reject) => {
    pool.open(
      target,
      { authority: `${serviceAddress("reviews")}:9080`, headers: [] },
      {
        onOpen: () => reject(new Error("was let in")),
        onRefused: resolve,
      },
    );
  });
  expect(failure).toBeInstanceOf(Failure);
  others.close();
  await rm(elsewhere, { recursive: true });
});

/** A CONNECT stream as Node has streams, for node:http2. */
function duplexOver(stream: Http2Stream): Duplex {
  const duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      stream.write(chunk, 0, chunk.length, null);
      done();
    },
    destroy(error, done) {
      stream.reset("cancel");
      done(error);
    },
  });
  stream.consumer = {
    onData(bytes, start, end) {
      duplex.push(Buffer.from(bytes.subarray(start, end)));
      stream.credit(end - start);
    },
    onEnd: () => duplex.push(null),
    onClosed: () => duplex.destroy(),
  };
  return duplex;
}

test("HTTP/2 inside the tunnel, to a port that declares HTTP/1.1", async () => {
  const spiffeId = "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage";
  const identity = await certificates.get(spiffeId);
  const target = {
    host: waypointAddress("bookinfo-waypoint"),
    port: 15008,
    expected: ["spiffe://cluster.local/ns/bookinfo/sa/bookinfo-waypoint"],
    identity: () => identity,
    sourceAddress: undefined,
    poolKey: spiffeId,
  };
  const request = { authority: `${serviceAddress("reviews")}:9080`, headers: [] };
  const duplex = await new Promise<Duplex>((resolve, reject) => {
    const onOpen = (stream: Http2Stream) => resolve(duplexOver(stream));
    pool.open(target, request, { onOpen, onRefused: reject });
  });
  const client = http2.connect("http://reviews:9080", { createConnection: () => duplex });
  const ask = () =>
    new Promise<unknown>((resolve, reject) => {
      const stream = client.request({ ":path": "/reviews/1" });
      stream.on("response", (headers) => resolve([headers[":status"], headers.server]));
      stream.on("error", reject);
      stream.resume();
    });
  const answers = await Promise.all([ask(), ask(), ask()]);
  expect(answers).toEqual(Array.from({ length: 3 }, () => [200, "istio-envoy"]));
  client.destroy();
});
