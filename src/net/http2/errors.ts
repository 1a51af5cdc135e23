/** Error codes of RFC 9113 §7, and which of them a ByteStream's reset becomes. */
import type { ResetReason } from "../byte-stream.ts";

export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13,
} as const;

const NAMES = Object.keys(ErrorCode);

/** A peer's mistake or flood, for counters and logs. */
export interface PeerError {
  /** Of RFC 9113 §7: what the peer is told. */
  readonly code: string;
  /** With the section that it breaks. Nothing in it is longer than a word of the peer's. */
  readonly detail: string;
  /** The stream that was reset for it; 0: the connection was ended. */
  readonly stream: number;
}

/** `PROTOCOL_ERROR`, or `0x2a` for a code that the RFC does not know. */
export function errorName(code: number): string {
  return NAMES[code] ?? `0x${code.toString(16)}`;
}

const BY_REASON: Readonly<Record<ResetReason, number>> = {
  cancel: ErrorCode.CANCEL,
  refused: ErrorCode.REFUSED_STREAM,
  protocol: ErrorCode.PROTOCOL_ERROR,
  internal: ErrorCode.INTERNAL_ERROR,
  connect: ErrorCode.CONNECT_ERROR,
  timeout: ErrorCode.CANCEL,
  flood: ErrorCode.ENHANCE_YOUR_CALM,
};

export function errorCodeOf(reason: ResetReason): number {
  return BY_REASON[reason];
}
