/** h2spec's part "hpack": blocks that cannot be decoded (RFC 7541, the section in each id). */
import { END_HEADERS, END_STREAM, frame, T } from "../../support/peer.ts";
import type { Case } from "./cases.ts";
import { type Side, whole } from "./sides.ts";

const COMPRESSION_ERROR = "GOAWAY 9";

const withField = (hex: string) => (side: Side) => [whole(side, 1, 0, Buffer.from(hex, "hex"))];

export const HPACK: readonly Case[] = [
  { id: "hpack/2.3.3/1", outcome: COMPRESSION_ERROR, send: withField("c6") },
  { id: "hpack/2.3.3/2", outcome: COMPRESSION_ERROR, send: withField("7f070161") },
  { id: "hpack/4.2/1", outcome: COMPRESSION_ERROR, send: withField("20") },
  // `a` is 00011: with eleven ones behind it, with zeros, and the end-of-string symbol.
  { id: "hpack/5.2/1", outcome: COMPRESSION_ERROR, send: withField("000178821fff") },
  { id: "hpack/5.2/2", outcome: COMPRESSION_ERROR, send: withField("0001788118") },
  { id: "hpack/5.2/3", outcome: COMPRESSION_ERROR, send: withField("00017884ffffffff") },
  { id: "hpack/6.1/1", outcome: COMPRESSION_ERROR, send: withField("80") },
  {
    id: "hpack/6.3/1",
    outcome: COMPRESSION_ERROR,
    // 4,097.
    send: (side) => [
      frame(
        T.headers,
        END_HEADERS | END_STREAM,
        1,
        Buffer.concat([Buffer.from("3fe21f", "hex"), side.head]),
      ),
    ],
  },
];
