import { expect, test } from "vitest";
import { parseResolvConf } from "./resolver-config.ts";

test("the first three usable nameservers count, and nothing else does", () => {
  const text = [
    "# nameserver 192.0.2.9",
    "search default.svc.cluster.local",
    "nameserver 192.0.2.1",
    "  nameserver\t2001:db8::53  ",
    "nameserver resolver.example",
    "nameserver",
    "nameserver 192.0.2.2",
    "nameserver 192.0.2.3",
  ].join("\n");
  expect(parseResolvConf(text)).toEqual([
    { host: "192.0.2.1", port: 53 },
    { host: "2001:db8::53", port: 53 },
    { host: "192.0.2.2", port: 53 },
  ]);
});
