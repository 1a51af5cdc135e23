/** Certificates of the identities that run here (skeleton). */
import type { Logger } from "../kit/log.ts";
import type { TlsIdentity } from "../net/tls.ts";

/** Who signs: the mesh's own CA, or istiod's. */
export interface CertificateAuthority {
  sign(request: {
    csrPem: string;
    spiffeId: string;
    ttlMs: number;
  }): Promise<{ chainPem: string; rootsPem: string }>;
}

export interface CertificatesOptions {
  readonly ttlMs: number;
  readonly log: Logger;
}

export class Certificates {
  // biome-ignore lint/complexity/noUselessConstructor: skeleton
  constructor(_authority: CertificateAuthority, _options: CertificatesOptions) {}

  get(_spiffeId: string): Promise<TlsIdentity> {
    return Promise.reject(new Error("not written yet"));
  }

  current(_spiffeId: string): TlsIdentity | undefined {
    return undefined;
  }

  subscribe(_listener: (identity: TlsIdentity) => void): () => void {
    return () => {};
  }

  release(_spiffeId: string): void {}

  close(): void {}
}
