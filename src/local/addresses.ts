/**
 * The addresses of the embedded mesh (D8): every Service, workload and waypoint has one of its own
 * from 127.64.0.0/10, so that real ports rarely collide and a source address says who speaks.
 *
 * An address follows from what it is for (a hash of kind, namespace and name, then linear probing),
 * so it is the same after a reload and after a restart. Where the system has only 127.0.0.1 the
 * addresses stay what the mesh calls things, and `listenAddress` and `dialAddress` translate them to
 * ports of 127.0.0.1.
 *
 * IPv6 has a single loopback address, so nothing can get an IPv6 address of its own here.
 */
import { createHash } from "node:crypto";
import net from "node:net";
import { assert } from "../kit/assert.ts";
import { canListen, type HostPort, type ListenPlan } from "../net/listeners.ts";

/** Real addresses, or ports of 127.0.0.1 that stand for them. */
export type AddressMode = "addresses" | "ports";

const LOOPBACK = "127.0.0.1";
/** Last octets 1 to 254: some programs take 0 and 255 for networks and broadcasts. */
const HOSTS_PER_OCTET = 254;
/** 127.64.0.0/10 has 64 × 256 groups of 256. */
const GROUPS = 64 * 256;
const CAPACITY = GROUPS * HOSTS_PER_OCTET;

export class AddressPlan implements ListenPlan {
  readonly mode: AddressMode;
  readonly #seed: string;
  readonly #byKey = new Map<string, string>();
  readonly #taken = new Map<string, string>();
  /** In "ports" mode: `ip:port` → the port of 127.0.0.1 that stands for it. */
  readonly #ports = new Map<string, number>();

  /** Plans with different seeds give different addresses. */
  constructor(mode: AddressMode, seed = "") {
    this.mode = mode;
    this.#seed = seed;
  }

  /** The address of a thing; the same one at each call. */
  allocate(kind: string, namespace: string, name: string): string {
    const key = `${kind}/${namespace}/${name}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    assert(this.#taken.size < CAPACITY, "127.64.0.0/10 has an address for everything");
    let index =
      createHash("sha256")
        .update(this.#seed + key)
        .digest()
        .readUInt32BE(0) % CAPACITY;
    while (this.#taken.has(addressAt(index))) index = (index + 1) % CAPACITY;
    const address = addressAt(index);
    this.#byKey.set(key, address);
    this.#taken.set(address, key);
    return address;
  }

  /** The thing is gone; someone else may have its address. */
  release(kind: string, namespace: string, name: string): void {
    const key = `${kind}/${namespace}/${name}`;
    const address = this.#byKey.get(key);
    if (address === undefined) return;
    this.#byKey.delete(key);
    this.#taken.delete(address);
  }

  /** Where to listen for `ip:port`. In "ports" mode port 0 until `bound` has said which it became. */
  listenAddress(ip: string, port: number): HostPort {
    if (this.mode === "addresses") return { host: ip, port };
    return { host: LOOPBACK, port: this.#ports.get(`${ip}:${port}`) ?? 0 };
  }

  /** `ip:port` is now listened on at that port of the host that `listenAddress` gave. */
  bound(ip: string, port: number, actualPort: number): void {
    if (this.mode === "ports") this.#ports.set(`${ip}:${port}`, actualPort);
  }

  /** Where to dial to reach `ip:port`. What nobody listens on is dialled as it is. */
  dialAddress(ip: string, port: number): HostPort {
    const actual = this.#ports.get(`${ip}:${port}`);
    return actual === undefined ? { host: ip, port } : { host: LOOPBACK, port: actual };
  }

  /** The address to dial from as a workload; undefined where that cannot be chosen. */
  sourceAddress(ip: string | undefined): string | undefined {
    return this.mode === "addresses" ? ip : undefined;
  }
}

function addressAt(index: number): string {
  const group = Math.floor(index / HOSTS_PER_OCTET);
  return `127.${64 + (group >> 8)}.${group & 255}.${1 + (index % HOSTS_PER_OCTET)}`;
}

/** True for addresses of 127.0.0.0/8. */
export function isLoopback4(address: string): boolean {
  return net.isIPv4(address) && address.startsWith("127.");
}

/** Linux answers on all of 127.0.0.0/8; macOS and the BSDs only on 127.0.0.1. */
export async function detectAddressMode(): Promise<AddressMode> {
  return (await canListen("127.64.0.1")) ? "addresses" : "ports";
}
