/**
 * Header names as small numbers: a name that was seen before is recognised by its bytes, without
 * making a string of it, and compared as a number from then on.
 *
 * What peers send can fill only a bounded table: above NAMES_MAX, or where too many names fall
 * together, a name gets no number (-1) and is looked at by its bytes each time. A name that is to
 * be written (`ownHeaderId`) always has a number, in the table or beside it.
 */
import { randomBytes } from "node:crypto";
import { latin1 } from "../../kit/bytes.ts";
import { TOKEN } from "./characters.ts";

const NAMES_MAX = 4096;
const SLOTS = 16_384;
const PROBES_MAX = 8;

const slots = new Int32Array(SLOTS).fill(-1);
const names: string[] = [];
const nameBytes: Uint8Array[] = [];
const byName = new Map<string, number>();
/** Numbers that no line of a head ever has: their names are not in `slots`. */
const beside = new Set<number>();

/** Another one in each process: nobody outside can choose names that fall together. */
const HASH_SEED = randomBytes(4).readInt32LE(0);

/** One step of the hash, from 0 on; upper and lower case hash alike. */
export function hashByte(hash: number, byte: number): number {
  return Math.imul(hash ^ HASH_SEED ^ (byte | 0x20), 0x01000193);
}

function slotOf(hash: number): number {
  return (hash ^ (hash >>> 15)) & (SLOTS - 1);
}

/** The number of a name of token characters, or -1. `hash` is that of `hashByte` over the bytes. */
export function internHeader(bytes: Buffer, start: number, end: number, hash: number): number {
  let slot = slotOf(hash);
  for (let probe = 0; probe < PROBES_MAX; probe++) {
    const id = slots[slot]!;
    if (id < 0) return register(bytes, start, end, slot);
    if (nameBytes[id]!.length === end - start && startsWithName(bytes, start, id)) return id;
    slot = (slot + 1) & (SLOTS - 1);
  }
  return -1;
}

function register(bytes: Buffer, start: number, end: number, slot: number): number {
  if (names.length >= NAMES_MAX) return -1;
  const name = latin1(bytes, start, end).toLowerCase();
  if (byName.has(name)) return -1;
  slots[slot] = names.length;
  return add(name);
}

function add(name: string): number {
  const id = names.length;
  names.push(name);
  nameBytes.push(Buffer.from(name, "latin1"));
  byName.set(name, id);
  return id;
}

/** Case-insensitive. The names of the table are lower-case tokens, of which `b | 0x20` is sure. */
function startsWithName(bytes: Buffer, start: number, id: number): boolean {
  const name = nameBytes[id]!;
  for (let i = 0; i < name.length; i++) {
    const byte = bytes[start + i]!;
    const wanted = name[i]!;
    if (byte === wanted) continue;
    // Letters only: by that bit alone a CR would be a hyphen too, and `Content\rLength` a length.
    if (byte < 0x41 || byte > 0x5a || (byte | 0x20) !== wanted) return false;
  }
  return true;
}

/**
 * The position of the colon when the line at `start` has the name with that number, which a peer
 * has sent before; else -1. Heads of one client repeat, so the reader tries the name that the same
 * line had last time before it hashes.
 */
export function colonAfter(bytes: Buffer, start: number, id: number): number {
  if (id < 0) return -1;
  const colon = start + nameBytes[id]!.length;
  return bytes[colon] === 0x3a && startsWithName(bytes, start, id) ? colon : -1;
}

/** The number of a lower-case name; registers it. -1 when the table is full. */
export function headerId(name: string): number {
  return byName.get(name) ?? (isToken(name) ? internName(name) : -1);
}

/**
 * The number of a lower-case name that we or the configuration write: always one, or who fills the
 * table with invented names would keep a header filter from working. Never for a peer's names.
 */
export function ownHeaderId(name: string): number {
  const known = headerId(name);
  if (known >= 0) return known;
  const id = add(name);
  beside.add(id);
  return id;
}

/** Lines with that name have no number, and have to be looked for by name. */
export function isBesideTable(id: number): boolean {
  return beside.size > 0 && beside.has(id);
}

function isToken(name: string): boolean {
  for (let i = 0; i < name.length; i++) if (TOKEN[name.charCodeAt(i)] !== 1) return false;
  return name.length > 0;
}

function internName(name: string): number {
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

/**
 * Names that the proxies themselves speak of. Those that end at this hop come first: a head keeps
 * which of the first 32 it has as bits of one number.
 */
export const H = {
  host: ownHeaderId("host"),
  contentLength: ownHeaderId("content-length"),
  transferEncoding: ownHeaderId("transfer-encoding"),
  connection: ownHeaderId("connection"),
  keepAlive: ownHeaderId("keep-alive"),
  proxyConnection: ownHeaderId("proxy-connection"),
  te: ownHeaderId("te"),
  trailer: ownHeaderId("trailer"),
  upgrade: ownHeaderId("upgrade"),
  expect: ownHeaderId("expect"),

  authorization: ownHeaderId("authorization"),
  baggage: ownHeaderId("baggage"),
  cacheControl: ownHeaderId("cache-control"),
  contentType: ownHeaderId("content-type"),
  cookie: ownHeaderId("cookie"),
  date: ownHeaderId("date"),
  forwarded: ownHeaderId("forwarded"),
  grpcStatus: ownHeaderId("grpc-status"),
  proxyAuthenticate: ownHeaderId("proxy-authenticate"),
  proxyAuthorization: ownHeaderId("proxy-authorization"),
  server: ownHeaderId("server"),
  setCookie: ownHeaderId("set-cookie"),
  traceparent: ownHeaderId("traceparent"),
  tracestate: ownHeaderId("tracestate"),
  userAgent: ownHeaderId("user-agent"),
  xEnvoyUpstreamServiceTime: ownHeaderId("x-envoy-upstream-service-time"),
  xForwardedClientCert: ownHeaderId("x-forwarded-client-cert"),
  xForwardedFor: ownHeaderId("x-forwarded-for"),
  xForwardedHost: ownHeaderId("x-forwarded-host"),
  xForwardedProto: ownHeaderId("x-forwarded-proto"),
  xRequestId: ownHeaderId("x-request-id"),
  xWaystoneDecision: ownHeaderId("x-waystone-decision"),

  xEnvoyAttemptCount: ownHeaderId("x-envoy-attempt-count"),
  grpcTimeout: ownHeaderId("grpc-timeout"),
  origin: ownHeaderId("origin"),
  xEnvoyOriginalPath: ownHeaderId("x-envoy-original-path"),
  secWebSocketKey: ownHeaderId("sec-websocket-key"),
  secWebSocketAccept: ownHeaderId("sec-websocket-accept"),
} as const;
