/** A server needs its certificate before the handshake starts. */
import type net from "node:net";
import type { Logger } from "../kit/log.ts";
import type { CertificateSource } from "./certificates.ts";

/**
 * Takes the socket when the identity has a certificate: at once, or when one has come. Without one
 * the socket is closed, as it is when there is no such identity.
 */
export function whenCertified(
  certificates: CertificateSource,
  spiffeId: string | undefined,
  socket: net.Socket,
  accept: () => void,
  log: Logger,
): void {
  if (spiffeId === undefined) socket.destroy();
  else if (certificates.current(spiffeId) !== undefined) accept();
  else {
    certificates.get(spiffeId).then(accept, (caught: unknown) => {
      log.debug({ spiffeId, reason: String(caught) }, "no certificate");
      socket.destroy();
    });
  }
}
