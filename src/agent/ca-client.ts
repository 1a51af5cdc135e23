/**
 * The certificate authority of the mesh as a proxy has it: over the wire, at the control plane
 * (protocols.md §2).
 *
 * A waypoint asks for itself: the token says who it is. A ztunnel asks for the workloads of its
 * node and names the one it means (`ImpersonatedIdentity`). What comes back is checked by whoever
 * asked (certificates.ts): the identity, the key, the validity.
 */
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { Failure } from "../kit/failure.ts";
import { IstioCertificateService } from "../wire/gen/istio/ca_pb.ts";
import type { CertificateAuthority } from "./certificates.ts";
import { callFailure } from "./grpc-channel.ts";

/** How the control plane is reached: with the roots of now, and a token that is read anew. */
export interface CaChannel {
  transport(): Promise<Transport>;
  /** `authorization`, `clusterid`: read again for each call. */
  headers(): Promise<Readonly<Record<string, string>>>;
  /** A call has failed: the next one should look at the roots again. */
  failed?(): void;
}

export interface CaClientOptions {
  readonly channel: CaChannel;
  /** True: asks for the identities of others, as a node's proxy does. */
  readonly impersonates: boolean;
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 10_000;
/** Chains are a few KiB; more is not one. */
const CHAIN_BYTES_MAX = 256 * 1024;

export class CaClient implements CertificateAuthority {
  readonly #options: CaClientOptions;

  constructor(options: CaClientOptions) {
    this.#options = options;
  }

  async sign(request: {
    csrPem: string;
    spiffeId: string;
    ttlMs: number;
  }): Promise<{ chainPem: string; rootsPem: string }> {
    const { channel, impersonates, timeoutMs = TIMEOUT_MS } = this.#options;
    let certChain: readonly string[];
    try {
      const client = createClient(IstioCertificateService, await channel.transport());
      const headers = await channel.headers();
      const message = {
        csr: request.csrPem,
        validityDuration: BigInt(Math.ceil(request.ttlMs / 1000)),
        metadata: impersonates ? { ImpersonatedIdentity: request.spiffeId } : undefined,
      };
      const answer = await client.createCertificate(message, { headers, timeoutMs });
      certChain = answer.certChain;
    } catch (caught) {
      channel.failed?.();
      throw unavailable(describe(caught), caught);
    }
    const bytes = certChain.reduce((sum, pem) => sum + pem.length, 0);
    // The last one holds the roots: without a leaf before it there is no certificate.
    if (certChain.length < 2) throw unavailable("the CA's answer has no certificate or no roots");
    if (bytes > CHAIN_BYTES_MAX) throw unavailable(`the CA's answer has ${bytes} bytes`);
    const chainPem = certChain.slice(0, -1).map(lineEnded).join("");
    return { chainPem, rootsPem: lineEnded(certChain[certChain.length - 1]!) };
  }
}

function lineEnded(pem: string): string {
  return pem.endsWith("\n") ? pem : `${pem}\n`;
}

function describe(caught: unknown): string {
  if (caught instanceof ConnectError && caught.code === Code.Unauthenticated) {
    return `the CA refuses: ${caught.rawMessage} (its log says why)`;
  }
  return caught instanceof ConnectError ? `the CA: ${callFailure(caught)}` : callFailure(caught);
}

function unavailable(detail: string, cause?: unknown): Failure {
  return new Failure("CERTIFICATE_UNAVAILABLE", detail, { cause });
}
