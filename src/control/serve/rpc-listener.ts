/**
 * The library's handlers behind an HTTP/2 server. Its own adapter writes the end of each client
 * that goes without a word to stderr, with a stack; here that is for the debug log.
 */
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { type ConnectRouter, createConnectRouter } from "@connectrpc/connect";
import {
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import { log } from "../../kit/log.ts";

export interface RpcListenerOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly readMaxBytes: number;
}

const NOT_FOUND = 404;

export function rpcListener({ routes, readMaxBytes }: RpcListenerOptions) {
  const router = createConnectRouter({
    readMaxBytes,
    acceptCompression: [compressionGzip],
    // What is sent is large for hundreds of clients at once, who are near.
    compressMinBytes: Number.MAX_SAFE_INTEGER,
    connect: false,
    grpcWeb: false,
  });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const logger = log("grpc");
  return (request: Http2ServerRequest, response: Http2ServerResponse): void => {
    const [path = ""] = request.url.split("?", 1);
    const handler = handlers.get(path);
    if (handler === undefined) {
      response.writeHead(NOT_FOUND).end();
      return;
    }
    const asked = universalRequestFromNodeRequest(request, response, undefined, undefined);
    handler(asked)
      .then((answer) => universalResponseToNodeResponse(answer, response))
      .catch(({ message: reason }: Error) => logger.debug({ path, reason }, "a call broke off"));
  };
}
