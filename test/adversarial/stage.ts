/**
 * The stage of a dialogue: the process under attack (host.mjs), what stands behind it, certificates
 * for everybody, and a bystander who makes requests all the while and must never notice.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Certificates } from "../../src/agent/certificates.ts";
import { MeshCertificateAuthority } from "../../src/control/certificate-authority.ts";
import { log } from "../../src/kit/log.ts";
import { block, frame, T } from "../support/peer.ts";
import { Destination } from "./destination.ts";
import { type Dialled, dial, inside } from "./wire.ts";

const HOST = fileURLToPath(new URL("host.mjs", import.meta.url));

export interface Figures {
  /** Heap and what hangs on it, after a collection. */
  readonly heldBytes: number;
  readonly rss: number;
  readonly cpuMs: number;
  readonly metrics: string;
}

interface Listening {
  readonly waypoint: number;
  readonly inbound: number;
  readonly outbound: number;
}

export const AUTHORITY = {
  http1: "127.10.0.1:80",
  http2: "127.10.0.1:81",
  any: "127.10.0.1:82",
  tcp: "127.10.0.1:9000",
  liar1: "127.10.0.2:80",
  liar2: "127.10.0.2:81",
  liarTcp: "127.10.0.2:9000",
} as const;

export function connectTo(authority: string): Buffer {
  return block(":method", "CONNECT", ":authority", authority);
}

export class Stage {
  readonly calm: Destination;
  readonly liar: Destination;
  readonly app: net.Server;
  /** What the process has logged, both logs. */
  output = "";
  #child!: ChildProcess;
  #listening!: Listening;
  readonly #directory: string;
  readonly #certificates: Certificates;
  readonly #open = new Set<{ destroy(): void }>();
  /** Connections to the workload's application. */
  readonly applicants = new Set<net.Socket>();
  onApplicant: (socket: net.Socket) => void = (socket) => socket.pipe(socket);

  private constructor(directory: string, certificates: Certificates, ids: Identity[]) {
    this.#directory = directory;
    this.#certificates = certificates;
    this.calm = new Destination(ids[0]!);
    this.liar = new Destination(ids[1]!);
    this.app = net.createServer((socket) => {
      this.applicants.add(socket);
      socket.on("error", () => {});
      socket.once("close", () => this.applicants.delete(socket));
      this.onApplicant(socket);
    });
  }

  static async open(): Promise<Stage> {
    const directory = await mkdtemp(join(tmpdir(), "waystone-adversarial-"));
    const authority = await MeshCertificateAuthority.open({
      directory,
      trustDomain: "cluster.local",
    });
    const certificates = new Certificates(authority, { ttlMs: 3_600_000, log: log("test") });
    const ids = [await identity(certificates, "calm"), await identity(certificates, "liar")];
    const stage = new Stage(directory, certificates, ids);
    await stage.#start();
    return stage;
  }

  async #start(): Promise<void> {
    const [calm, liar] = [await this.calm.listen(), await this.liar.listen()];
    await new Promise<void>((resolve) => this.app.listen(0, "127.0.0.1", resolve));
    const ports = { "127.0.0.2": calm, "127.0.0.3": liar, "127.0.0.4": liar };
    const appPort = String((this.app.address() as net.AddressInfo).port);
    const args = ["--expose-gc", HOST, this.#directory, JSON.stringify(ports), appPort];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on("data", (bytes: Buffer) => {
        this.output = (this.output + bytes.toString("latin1")).slice(-2_000_000);
      });
    }
    this.#listening = await new Promise((resolve, reject) => {
      child.once("message", (message: { listening: Listening }) => resolve(message.listening));
      child.once("exit", () => reject(new Error(`the host ended: ${this.output}`)));
    });
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async figures(): Promise<Figures> {
    return await new Promise((resolve, reject) => {
      this.#child.once("message", resolve);
      this.#child.send("figures", (error) => error && reject(error));
    });
  }

  portOf(side: keyof Listening): number {
    return this.#listening[side];
  }

  /** A client of the mesh, after its TLS handshake. */
  async dial(side: "waypoint" | "inbound" = "waypoint", account = "client"): Promise<Dialled> {
    const id = await identity(this.#certificates, account);
    const peer = await dial({ port: this.portOf(side), ...id });
    peer.socket.on("error", () => {});
    this.#open.add(peer.socket);
    return peer;
  }

  /** The same, and both sides' SETTINGS. */
  async greeted(
    side: "waypoint" | "inbound" = "waypoint",
    ...entries: readonly (readonly [number, number])[]
  ): Promise<Dialled> {
    const peer = await this.dial(side);
    peer.greetAsClient(...entries);
    await peer.until(() => peer.seen.some((f) => f.type === T.settings), "SETTINGS");
    return peer;
  }

  /** A plain TCP client of a side. */
  plain(side: keyof Listening, localAddress = "127.0.0.5"): net.Socket {
    const options = { host: "127.0.0.1", port: this.portOf(side), localAddress };
    const socket = net.connect({ ...options, allowHalfOpen: true });
    socket.on("error", () => {});
    this.#open.add(socket);
    return socket;
  }

  /** One well-behaved request over connections of its own; how long it took. */
  async bystand(): Promise<number> {
    const startMs = performance.now();
    const peer = await this.greeted();
    await peer.tunnel(1, connectTo(AUTHORITY.http1));
    peer.send(frame(T.data, 0, 1, "GET /bystander HTTP/1.1\r\nhost: calm\r\n\r\n"));
    await peer.until(() => /\r\n\r\nok$/.test(peer.bodies.get(1) ?? ""), "the bystander's answer");
    await peer.tunnel(3, connectTo(AUTHORITY.http2));
    const inner = inside(peer, 3);
    inner.greetAsClient();
    const request = [":method", "GET", ":scheme", "http", ":authority", "calm", ":path", "/"];
    inner.send(frame(T.headers, 5, 1, block(...request)));
    await inner.until(() => inner.bodies.get(1) === "ok", "the bystander's HTTP/2 answer");
    peer.socket.destroy();
    this.#open.delete(peer.socket);
    return performance.now() - startMs;
  }

  /** Everybody goes home. */
  clear(): void {
    for (const socket of this.#open) socket.destroy();
    this.#open.clear();
    this.calm.forget();
    this.liar.forget();
    this.onApplicant = (socket) => socket.pipe(socket);
    this.output = "";
  }

  async close(): Promise<void> {
    this.clear();
    this.#certificates.close();
    for (const socket of this.applicants) socket.destroy();
    this.app.close();
    this.calm.close();
    this.liar.close();
    const isOver = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill();
    await isOver;
    await rm(this.#directory, { recursive: true });
  }
}

interface Identity {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

async function identity(certificates: Certificates, account: string): Promise<Identity> {
  const id = await certificates.get(`spiffe://cluster.local/ns/default/sa/${account}`);
  return { key: id.keyPem, cert: id.certificatePem, ca: id.rootsPem };
}
