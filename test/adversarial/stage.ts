/**
 * The stage of a dialogue: the process under attack (host.mjs), what stands behind it, certificates
 * for everybody, and a bystander who makes requests all the while and must never notice.
 */
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Certificates } from "../../src/agent/certificates.ts";
import { MeshCertificateAuthority } from "../../src/control/certificate-authority.ts";
import { log } from "../../src/kit/log.ts";
import { block, frame, T } from "../support/peer.ts";
import { Destination } from "./destination.ts";
import { type Figures, Host, type Listening } from "./host.ts";
import { type Dialled, dial, inside } from "./wire.ts";

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
  #host!: Host;
  #bystander!: Dialled;
  #bystanderStream = 1;
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
    this.#host = await Host.start(this.#directory, ports, appPort);
    this.#bystander = await this.greeted();
    this.#open.clear();
  }

  /** What the process has logged, both logs. */
  get output(): string {
    return this.#host.output;
  }

  get isAlive(): boolean {
    return this.#host.isAlive;
  }

  figures(): Promise<Figures> {
    return this.#host.figures();
  }

  portOf(side: keyof Listening): number {
    return this.#host.listening[side];
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

  /**
   * A well-behaved client on a connection of its own, open from the first dialogue to the last: a
   * request in HTTP/1.1 and one in HTTP/2. Tells how long they took.
   */
  async bystand(): Promise<number> {
    const startMs = performance.now();
    const peer = this.#bystander;
    const [first, second] = [this.#bystanderStream, this.#bystanderStream + 2];
    this.#bystanderStream += 4;
    await peer.tunnel(first, connectTo(AUTHORITY.http1));
    peer.send(frame(T.data, 0, first, "GET /bystander HTTP/1.1\r\nhost: calm\r\n\r\n"));
    const isDone = () => /\r\n\r\nok$/.test(peer.bodies.get(first) ?? "");
    await peer.until(isDone, "the bystander's answer");
    await peer.tunnel(second, connectTo(AUTHORITY.http2));
    const inner = inside(peer, second);
    inner.greetAsClient();
    const request = [":method", "GET", ":scheme", "http", ":authority", "calm", ":path", "/"];
    inner.send(frame(T.headers, 5, 1, block(...request)));
    await inner.until(() => inner.bodies.get(1) === "ok", "the bystander's HTTP/2 answer");
    peer.send(frame(T.data, 1, first), frame(T.data, 1, second));
    return performance.now() - startMs;
  }

  /** Everybody goes home. */
  clear(): void {
    for (const socket of this.#open) socket.destroy();
    this.#open.clear();
    this.calm.forget();
    this.liar.forget();
    this.onApplicant = (socket) => socket.pipe(socket);
    this.#host.output = "";
  }

  async close(): Promise<void> {
    this.clear();
    this.#certificates.close();
    for (const socket of this.applicants) socket.destroy();
    this.app.close();
    this.calm.close();
    this.liar.close();
    this.#bystander.socket.destroy();
    await this.#host.stop();
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
