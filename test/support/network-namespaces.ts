/**
 * Network namespaces that a test makes for itself: one in the middle, and others that hang on it by
 * a veth pair each. Needs root (or the capabilities) and iproute2; without them `missing()` says so.
 *
 *     middle  10.77.<n>.1 ── veth ── 10.77.<n>.2  leaf n
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process";

export class NetworkNamespaces {
  readonly #prefix = `ws${process.pid.toString(36)}`;
  readonly #names: string[] = [];
  readonly #children = new Set<ChildProcess>();

  /** Why namespaces cannot be made here; undefined when they can. */
  static missing(): string | undefined {
    const probe = `ws${process.pid.toString(36)}probe`;
    try {
      ip("netns", "add", probe);
      ip("netns", "del", probe);
      return undefined;
    } catch (caught) {
      return `no network namespaces here: ${caught instanceof Error ? caught.message : caught}`;
    }
  }

  constructor(leaves: readonly string[]) {
    this.#add("middle");
    // The leaves reach one another through it.
    this.run("middle", "sh", ["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    leaves.forEach((leaf, index) => {
      this.#add(leaf);
      this.#join(leaf, index + 1);
    });
  }

  /** Starts a program in a namespace; `close` ends it. */
  spawn(
    leaf: string,
    command: string,
    args: readonly string[],
    options: SpawnOptions,
  ): ChildProcess {
    const child = spawn("ip", ["netns", "exec", this.#name(leaf), command, ...args], options);
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    return child;
  }

  /** Runs a program to its end and tells what it printed. */
  run(leaf: string, command: string, args: readonly string[], timeoutMs = 10_000): string {
    const all = ["netns", "exec", this.#name(leaf), command, ...args];
    return execFileSync("ip", all, { encoding: "utf8", timeout: timeoutMs, stdio: "pipe" });
  }

  async close(): Promise<void> {
    const ended = [...this.#children].map(
      (child) => new Promise<void>((resolve) => child.once("exit", () => resolve())),
    );
    for (const child of this.#children) child.kill("SIGKILL");
    await Promise.all(ended);
    for (const name of this.#names) ip("netns", "del", name);
  }

  #name(leaf: string): string {
    return `${this.#prefix}${leaf}`;
  }

  #add(leaf: string): void {
    const name = this.#name(leaf);
    ip("netns", "add", name);
    this.#names.push(name);
    ip("-n", name, "link", "set", "lo", "up");
  }

  #join(leaf: string, index: number): void {
    const [middle, end] = [this.#name("middle"), this.#name(leaf)];
    const [here, there] = [`${this.#prefix}m${index}`, `${this.#prefix}l${index}`];
    ip("link", "add", here, "netns", middle, "type", "veth", "peer", "name", there, "netns", end);
    ip("-n", middle, "addr", "add", `10.77.${index}.1/24`, "dev", here);
    ip("-n", middle, "link", "set", here, "up");
    ip("-n", end, "addr", "add", `10.77.${index}.2/24`, "dev", there);
    ip("-n", end, "link", "set", there, "up");
    ip("-n", end, "route", "add", "default", "via", `10.77.${index}.1`);
  }
}

function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: "pipe" });
}
