/** The resolvers that the system names: `nameserver` lines of /etc/resolv.conf (resolv.conf(5)). */
import net from "node:net";

export interface DnsServerAddress {
  readonly host: string;
  readonly port: number;
}

/** As glibc has it: the first three count. */
const SERVERS_MAX = 3;

export function parseResolvConf(text: string): DnsServerAddress[] {
  const servers: DnsServerAddress[] = [];
  for (const line of text.split("\n")) {
    const [keyword, host = ""] = line.trim().split(/\s+/);
    if (keyword !== "nameserver" || net.isIP(host) === 0) continue;
    if (servers.length < SERVERS_MAX) servers.push({ host, port: 53 });
  }
  return servers;
}
