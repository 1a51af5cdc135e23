/** What a connection allows its peer; each breach has an error code (D10). */
export interface Http2Limits {
  /** Streams the peer may have open; above it REFUSED_STREAM. */
  readonly maxConcurrentStreams: number;
  /** Payload of one frame, at least 16,384; above it FRAME_SIZE_ERROR. */
  readonly maxFrameBytes: number;
  /** A decoded header list, as HPACK counts it; above it the stream is refused. */
  readonly maxHeaderListBytes: number;
  /** An encoded block with its CONTINUATIONs; above it ENHANCE_YOUR_CALM (CVE-2024-27316). */
  readonly maxHeaderBlockBytes: number;
  readonly maxContinuationFrames: number;
  /** Whether our encoder uses the peer's dynamic table. */
  readonly indexesHeaders: boolean;
  /** Server role: whether CONNECT may come with `:protocol`, as for WebSockets (RFC 8441). */
  readonly allowsExtendedConnect: boolean;
  /** What a stream may have under way and unread from the beginning. */
  readonly streamWindowBytes: number;
  /** What it may grow to while its consumer keeps up. */
  readonly streamWindowBytesMax: number;
  /**
   * What all streams together may grow by. With it a connection holds at most
   * `maxConcurrentStreams × streamWindowBytes + windowGrowthBytes`, and every stream has its own
   * part of that: those whose consumers stand still take nothing from the others.
   */
  readonly windowGrowthBytes: number;
  readonly connectionWindowBytes: number;
  /** A PING after this much silence. */
  readonly keepaliveIntervalMs: number;
  /** No answer to it for this long: the connection is dead. */
  readonly keepaliveTimeoutMs: number;
  /** For the peer to acknowledge our SETTINGS; then SETTINGS_TIMEOUT (RFC 9113 §6.5.3). */
  readonly settingsTimeoutMs: number;
  /** Frames that carry no data, in one flood window; each DATA frame we send allows ten more. */
  readonly maxControlFrames: number;
  /**
   * Streams that came to nothing by the peer's doing, in one flood window: reset at once, whether
   * answered or not (CVE-2023-44487), refused, or provoking a reset of ours (CVE-2025-8671). Above
   * it the connection ends, if they are more than half of all that were opened.
   */
  readonly maxPrematureResets: number;
  /** Empty frames in a row that end nothing. */
  readonly maxEmptyFrames: number;
  /** Answers to PING and SETTINGS that may be queued while the peer does not read. */
  readonly maxUnreadReplies: number;
  readonly floodWindowMs: number;
}

/** Tunnels: ztunnel's numbers (protocols.md §3.3); its 4 MiB of stream window are grown to. */
export const TUNNEL_LIMITS: Http2Limits = {
  maxConcurrentStreams: 200,
  maxFrameBytes: 1024 * 1024,
  maxHeaderListBytes: 64 * 1024,
  maxHeaderBlockBytes: 64 * 1024,
  maxContinuationFrames: 16,
  indexesHeaders: false,
  allowsExtendedConnect: false,
  streamWindowBytes: 128 * 1024,
  streamWindowBytesMax: 4 * 1024 * 1024,
  // With 200 × 128 KiB: two connection windows.
  windowGrowthBytes: 7 * 1024 * 1024,
  connectionWindowBytes: 16 * 1024 * 1024,
  keepaliveIntervalMs: 10_000,
  keepaliveTimeoutMs: 20_000,
  settingsTimeoutMs: 10_000,
  maxControlFrames: 10_000,
  maxPrematureResets: 500,
  maxEmptyFrames: 100,
  maxUnreadReplies: 100,
  floodWindowMs: 10_000,
};

/** HTTP/2 inside a tunnel: the tunnel's keep-alive is enough, its window bounds ours. */
export const INNER_LIMITS: Http2Limits = {
  ...TUNNEL_LIMITS,
  maxConcurrentStreams: 1024,
  maxFrameBytes: 16_384,
  indexesHeaders: true,
  allowsExtendedConnect: true,
  streamWindowBytes: 64 * 1024,
  streamWindowBytesMax: 256 * 1024,
  windowGrowthBytes: 1024 * 1024,
  connectionWindowBytes: 1024 * 1024,
  keepaliveIntervalMs: 60_000,
};
