/** One address for several servers, as a Service has: whoever of them takes the connection. */
import net from "node:net";

export class ServiceProxy {
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** Ports of 127.0.0.1, tried in turn. */
  targets: readonly number[] = [];
  #turn = 0;

  private constructor() {
    this.#server = net.createServer((socket) => this.#accept(socket));
  }

  static async start(): Promise<ServiceProxy> {
    const proxy = new ServiceProxy();
    await new Promise<void>((resolve) => proxy.#server.listen(0, "0.0.0.0", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** All connections break. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.drop();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: net.Socket): void {
    this.#follow(socket);
    const start = this.#turn++;
    const order = this.targets.map((_, i) => this.targets[(start + i) % this.targets.length]!);
    this.#connect(socket, order);
  }

  #connect(socket: net.Socket, [port, ...others]: readonly number[]): void {
    if (port === undefined) {
      socket.destroy();
      return;
    }
    const target = net.connect(port, "127.0.0.1");
    const next = () => this.#connect(socket, others);
    target.once("error", next);
    target.once("connect", () => {
      target.off("error", next);
      this.#follow(target);
      socket.pipe(target).pipe(socket);
      socket.once("close", () => target.destroy());
      target.once("close", () => socket.destroy());
    });
  }

  #follow(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }
}
