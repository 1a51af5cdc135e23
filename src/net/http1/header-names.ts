/**
 * Header names as small numbers: a name that was seen before is recognised by its bytes, without
 * making a string of it, and compared as a number from then on.
 *
 * The table is bounded: above NAMES_MAX a new name gets no number (-1) and is looked at by its
 * bytes each time, so a client cannot make us remember what it invents.
 */
import { latin1 } from "../../kit/bytes.ts";

/** Numbers are below this. */
export const NAMES_MAX = 4096;
const SLOTS = 16_384;
const PROBES_MAX = 8;

const slots = new Int32Array(SLOTS).fill(-1);
const names: string[] = [];
const nameBytes: Buffer[] = [];
const byName = new Map<string, number>();

/** The number of a name, or -1. `hash` is that of `hashByte` over the bytes. */
export function internHeader(bytes: Buffer, start: number, end: number, hash: number): number {
  let slot = hash & (SLOTS - 1);
  for (let probe = 0; probe < PROBES_MAX; probe++) {
    const id = slots[slot]!;
    if (id < 0) return add(latin1(bytes, start, end).toLowerCase(), slot);
    if (equals(nameBytes[id]!, bytes, start, end)) return id;
    slot = (slot + 1) & (SLOTS - 1);
  }
  return -1;
}

/** One step of the hash; upper and lower case hash alike. */
export function hashByte(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + (byte | 0x20)) | 0;
}

function add(name: string, slot: number): number {
  if (names.length >= NAMES_MAX) return -1;
  const id = names.length;
  names.push(name);
  nameBytes.push(Buffer.from(name, "latin1"));
  byName.set(name, id);
  slots[slot] = id;
  return id;
}

/** Case-insensitive; `name` is in lower case. Token characters only, so `| 0x20` is safe for letters. */
function equals(name: Buffer, bytes: Buffer, start: number, end: number): boolean {
  if (name.length !== end - start) return false;
  for (let i = 0; i < name.length; i++) {
    const byte = bytes[start + i]!;
    const isUpper = byte >= 0x41 && byte <= 0x5a;
    if ((isUpper ? byte | 0x20 : byte) !== name[i]) return false;
  }
  return true;
}

/** The number of a lower-case name; registers it. -1 when the table is full. */
export function headerId(name: string): number {
  const known = byName.get(name);
  if (known !== undefined) return known;
  const bytes = Buffer.from(name, "latin1");
  let hash = 0;
  for (const byte of bytes) hash = hashByte(hash, byte);
  return internHeader(bytes, 0, bytes.length, hash);
}

/** The lower-case name of a number. */
export function headerName(id: number): string {
  return names[id]!;
}

/** The number of a lower-case name that was seen before, or -1. */
export function knownHeaderId(name: string): number {
  return byName.get(name) ?? -1;
}

/** Names that the proxies themselves speak of. */
export const H = {
  authorization: headerId("authorization"),
  connection: headerId("connection"),
  contentLength: headerId("content-length"),
  contentType: headerId("content-type"),
  cookie: headerId("cookie"),
  date: headerId("date"),
  expect: headerId("expect"),
  forwarded: headerId("forwarded"),
  grpcStatus: headerId("grpc-status"),
  host: headerId("host"),
  keepAlive: headerId("keep-alive"),
  proxyAuthenticate: headerId("proxy-authenticate"),
  proxyAuthorization: headerId("proxy-authorization"),
  proxyConnection: headerId("proxy-connection"),
  server: headerId("server"),
  te: headerId("te"),
  traceparent: headerId("traceparent"),
  trailer: headerId("trailer"),
  transferEncoding: headerId("transfer-encoding"),
  upgrade: headerId("upgrade"),
  userAgent: headerId("user-agent"),
  xEnvoyUpstreamServiceTime: headerId("x-envoy-upstream-service-time"),
  xForwardedClientCert: headerId("x-forwarded-client-cert"),
  xForwardedFor: headerId("x-forwarded-for"),
  xForwardedProto: headerId("x-forwarded-proto"),
  xRequestId: headerId("x-request-id"),
  xWaystoneDecision: headerId("x-waystone-decision"),
} as const;
