/**
 * Who listens on an address and port, for the message that a port is in use. Linux tells it in
 * /proc; elsewhere, and for processes of other users, nobody is named.
 */
import { readdir, readFile, readlink } from "node:fs/promises";
import net from "node:net";

const LISTEN = "0A";

/** `node (pid 4711)`, or undefined when it cannot be found out. */
export async function portOwner(host: string, port: number): Promise<string | undefined> {
  try {
    const inode = await listeningInode(host, port);
    return inode && (await processWithSocket(inode));
  } catch {
    return undefined;
  }
}

async function listeningInode(host: string, port: number): Promise<string | undefined> {
  for (const file of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = await readFile(file, "utf8").catch(() => "");
    for (const line of text.split("\n").slice(1)) {
      // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
      const fields = line.trim().split(/\s+/);
      const [address = "", localPort = ""] = (fields[1] ?? "").split(":");
      if (fields[3] !== LISTEN || Number.parseInt(localPort, 16) !== port) continue;
      if (isWildcard(address) || address === hexAddress(host)) return fields[9];
    }
  }
  return undefined;
}

function isWildcard(address: string): boolean {
  return /^0+$/.test(address);
}

/** As the kernel prints an IPv4 address: its four bytes as one number of the machine's order. */
function hexAddress(host: string): string | undefined {
  if (!net.isIPv4(host)) return undefined;
  const bytes = host.split(".").map(Number).reverse();
  return Buffer.from(bytes).toString("hex").toUpperCase();
}

async function processWithSocket(inode: string): Promise<string | undefined> {
  const wanted = `socket:[${inode}]`;
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const descriptor of descriptors) {
      const target = await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => "");
      if (target !== wanted) continue;
      const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
      return `${name.trim()} (pid ${pid})`;
    }
  }
  return undefined;
}
