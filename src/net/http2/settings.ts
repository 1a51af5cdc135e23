/** SETTINGS (RFC 9113 §6.5): what we say, and what the peer may say. */
import { ErrorCode } from "./errors.ts";
import { DEFAULT_FRAME_BYTES, DEFAULT_WINDOW_BYTES, Setting, WINDOW_MAX } from "./frames.ts";
import type { Http2Limits } from "./limits.ts";

/** What the peer has told us, that we act on. */
export interface PeerSettings {
  maxConcurrentStreams: number;
  initialWindowBytes: number;
  maxFrameBytes: number;
  /** Of its decoder's dynamic table: what our encoder may use. */
  headerTableBytes: number;
  /** Our CONNECT may have `:protocol` (RFC 8441 §3). */
  allowsExtendedConnect: boolean;
  /** The smallest that its latest SETTINGS named. */
  smallestHeaderTableBytes: number;
}

/** What holds before its SETTINGS are here (RFC 9113 §6.5.2). */
export function defaultPeerSettings(): PeerSettings {
  return {
    maxConcurrentStreams: Number.POSITIVE_INFINITY,
    initialWindowBytes: DEFAULT_WINDOW_BYTES,
    maxFrameBytes: DEFAULT_FRAME_BYTES,
    headerTableBytes: DEFAULT_TABLE_BYTES,
    allowsExtendedConnect: false,
    smallestHeaderTableBytes: Number.POSITIVE_INFINITY,
  };
}

export interface ConnectionProblem {
  readonly code: number;
  readonly detail: string;
}

const ENTRY_BYTES = 6;
const DEFAULT_TABLE_BYTES = 4096;
const FRAME_BYTES_MAX = 0xffffff;

/** The payload of our SETTINGS. */
export function ourSettings(role: "client" | "server", limits: Http2Limits): Buffer {
  const entries: [number, number][] = [
    [Setting.INITIAL_WINDOW_SIZE, limits.streamWindowBytes],
    [Setting.MAX_FRAME_SIZE, limits.maxFrameBytes],
    [Setting.MAX_HEADER_LIST_SIZE, limits.maxHeaderListBytes],
  ];
  if (role === "client") entries.push([Setting.ENABLE_PUSH, 0]);
  else {
    entries.push([Setting.MAX_CONCURRENT_STREAMS, limits.maxConcurrentStreams]);
    if (limits.allowsExtendedConnect) entries.push([Setting.ENABLE_CONNECT_PROTOCOL, 1]);
  }
  const payload = Buffer.alloc(entries.length * ENTRY_BYTES);
  entries.forEach(([setting, value], index) => {
    payload.writeUInt16BE(setting, index * ENTRY_BYTES);
    payload.writeUInt32BE(value, index * ENTRY_BYTES + 2);
  });
  return payload;
}

/** Takes over the peer's SETTINGS: whole entries, in their order. */
export function applySettings(
  peer: PeerSettings,
  role: "client" | "server",
  bytes: Buffer,
  start: number,
  end: number,
): ConnectionProblem | undefined {
  for (let at = start; at < end; at += ENTRY_BYTES) {
    const problem = applyOne(peer, role, bytes.readUInt16BE(at), bytes.readUInt32BE(at + 2));
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function applyOne(
  peer: PeerSettings,
  role: "client" | "server",
  setting: number,
  value: number,
): ConnectionProblem | undefined {
  const bad = (detail: string, code: number = ErrorCode.PROTOCOL_ERROR) => ({ code, detail });
  switch (setting) {
    case Setting.ENABLE_PUSH:
      if (value > 1 || (value === 1 && role === "client"))
        return bad(`§6.5.2: ENABLE_PUSH of ${value}`);
      return undefined;
    case Setting.MAX_CONCURRENT_STREAMS:
      peer.maxConcurrentStreams = value;
      return undefined;
    case Setting.INITIAL_WINDOW_SIZE:
      if (value > WINDOW_MAX)
        return bad("§6.5.2: INITIAL_WINDOW_SIZE too large", ErrorCode.FLOW_CONTROL_ERROR);
      peer.initialWindowBytes = value;
      return undefined;
    case Setting.MAX_FRAME_SIZE:
      if (value < DEFAULT_FRAME_BYTES || value > FRAME_BYTES_MAX)
        return bad(`§6.5.2: MAX_FRAME_SIZE of ${value}`);
      peer.maxFrameBytes = value;
      return undefined;
    case Setting.ENABLE_CONNECT_PROTOCOL:
      // It cannot be taken back.
      if (value > 1 || (value === 0 && peer.allowsExtendedConnect)) {
        return bad(`RFC 8441 §3: ENABLE_CONNECT_PROTOCOL of ${value}`);
      }
      peer.allowsExtendedConnect = value === 1;
      return undefined;
    case Setting.HEADER_TABLE_SIZE:
      peer.headerTableBytes = value;
      peer.smallestHeaderTableBytes = Math.min(value, peer.smallestHeaderTableBytes);
      return undefined;
    default: // RFC 9113 §6.5.2: unknown settings are ignored; MAX_HEADER_LIST_SIZE is advice
      return undefined;
  }
}
