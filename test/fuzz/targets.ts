/** All targets by name; each in a module of its own or with its kin. */
import type { Target } from "./target.ts";
import { clientHello } from "./targets/client-hello.ts";
import { dnsAnswer, dnsQuery } from "./targets/dns.ts";
import { hpack, huffman } from "./targets/hpack.ts";
import { http1Body } from "./targets/http1-body.ts";
import { http1Request, http1Response } from "./targets/http1-heads.ts";
import { http1Session } from "./targets/http1-session.ts";
import { http2Client, http2Server } from "./targets/http2.ts";
import { accessLogFormat, yamlObjects } from "./targets/operator-texts.ts";
import { resources } from "./targets/resources.ts";
import { socks5 } from "./targets/socks5.ts";
import { authority, baggage, path } from "./targets/texts.ts";
import { http1Backend, http2Lists } from "./targets/waypoint.ts";

export const TARGETS: readonly Target[] = [
  ...[hpack, huffman, http2Server, http2Client, http1Request, http1Response, http1Body],
  ...[dnsQuery, dnsAnswer, clientHello],
  resources,
  ...[
    http1Session,
    http1Backend,
    http2Lists,
    path,
    authority,
    baggage,
    socks5,
    yamlObjects,
    accessLogFormat,
  ],
];
