/**
 * gRPC as far as a proxy must know it: its content type, how long a client waits, and its status
 * for answers of our own.
 */
import { header } from "../net/http2/headers.ts";
import type { LocalReply } from "./local-replies.ts";
import type { Trailers } from "./upstream.ts";

/** `application/grpc`, with a `+` or `;` behind it or nothing; not `application/grpc-web`. */
export function isGrpcType(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?:$|[+;\s])/i.test(contentType);
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ...{ H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 },
};

/**
 * The time that `grpc-timeout` gives a call, in whole milliseconds, rounded up. 0: none; so it is
 * for what is no value of gRPC over HTTP/2 ("positive integer as ASCII string of at most 8 digits",
 * and a unit), for "if Timeout is omitted a server should assume an infinite timeout".
 */
export function grpcTimeoutMs(value: string | undefined): number {
  if (value === undefined || !/^[0-9]{1,8}[HMSmun]$/.test(value)) return 0;
  return Math.ceil(Number(value.slice(0, -1)) * UNIT_MS[value.at(-1)!]!);
}

/** The other way round: the smallest unit that has room in 8 digits. */
export function grpcTimeout(ms: number): string {
  if (ms < 1e8) return `${ms}m`;
  return ms < 1e11 ? `${Math.ceil(ms / 1_000)}S` : `${Math.ceil(ms / 3_600_000)}H`;
}

export function grpcStatusIn(trailers: Trailers): string | undefined {
  return header(trailers, "grpc-status");
}

/** protocols.md §6.4, the table of gRPC's http-grpc-status-mapping. */
export function grpcStatusOf({ status, grpcStatus }: LocalReply): string {
  if (grpcStatus !== undefined) return grpcStatus;
  switch (status) {
    case 400:
      return "13";
    case 401:
      return "16";
    case 403:
      return "7";
    case 404:
      return "12";
    case 429:
    case 502:
    case 503:
    case 504:
      return "14";
    default:
      return "2";
  }
}

/** Percent-encoded as gRPC over HTTP/2 has it: all but printable ASCII, and the percent sign. */
export function grpcMessage(text: string): string {
  return text.replace(/[^ -$&-~]/gu, (character) =>
    [...Buffer.from(character)]
      .map((b) => `%${b.toString(16).toUpperCase().padStart(2, "0")}`)
      .join(""),
  );
}

/** A local reply as a trailers-only response, but for its status, which is 200. */
export function grpcHeaders(reply: LocalReply, server: string): string[] {
  const list = ["content-type", "application/grpc", "grpc-status", grpcStatusOf(reply)];
  if (reply.body !== "") list.push("grpc-message", grpcMessage(reply.body));
  list.push("server", server);
  const { headers = [] } = reply;
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== "content-type") list.push(headers[i]!, headers[i + 1]!);
  }
  return list;
}
