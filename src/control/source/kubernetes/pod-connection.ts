/**
 * A connection to a port of a Pod through the API server, as `kubectl port-forward` opens it: the
 * Pod sees it come from its own loopback.
 */
import { Duplex, PassThrough } from "node:stream";
import { Failure } from "../../../kit/failure.ts";
import type { ClusterAccess } from "./cluster-access.ts";

const MESSAGE_CHARACTERS_MAX = 500;

export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

/** Rejects with KUBERNETES_UNAVAILABLE. The connection is closed with `destroy()`. */
export async function connectPod(access: ClusterAccess, at: PodPort): Promise<Duplex> {
  const { PortForward } = await import("@kubernetes/client-node");
  const [fromPod, toPod, errors] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const { namespace, pod, port } = at;
  let close = () => {};
  const connection = Duplex.from({ readable: fromPod, writable: toPod });
  connection.once("close", () => close());
  try {
    const forward = new PortForward(await access.config());
    const socket = await forward.portForward(namespace, pod, [port], fromPod, errors, toPod);
    if (typeof socket === "function") throw new Error("the API server gave no connection");
    close = () => socket.close();
    socket.onclose = () => fromPod.end();
    socket.onerror = () => connection.destroy();
  } catch (caught) {
    connection.destroy();
    const detail = `${namespace}/${pod}:${port}: ${messageOf(caught)}`;
    throw new Failure("KUBERNETES_UNAVAILABLE", detail, { cause: caught });
  }
  errors.on("data", (text: Buffer) => {
    const reason = text.toString().slice(0, MESSAGE_CHARACTERS_MAX).trim();
    connection.destroy(new Failure("KUBERNETES_UNAVAILABLE", reason));
  });
  return connection;
}

/** The library rejects with the event of a WebSocket. */
function messageOf(caught: unknown): string {
  const { message, error } = (caught ?? {}) as { message?: string; error?: { message?: string } };
  return message ?? error?.message ?? "no connection";
}
