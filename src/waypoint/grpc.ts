/** gRPC as far as a proxy must know it: its content type, and its status for answers of our own. */
import { header } from "../net/http2/headers.ts";
import type { LocalReply } from "./local-replies.ts";
import type { Trailers } from "./upstream.ts";

/** `application/grpc`, with a `+` or `;` behind it or nothing; not `application/grpc-web`. */
export function isGrpcType(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?:$|[+;\s])/i.test(contentType);
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
