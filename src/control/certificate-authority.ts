/** The mesh's own certificate authority (skeleton). */
import type { CertificateAuthority } from "../agent/certificates.ts";

export class MeshCertificateAuthority implements CertificateAuthority {
  readonly rootsPem: string = "";

  /** Loads the root from the directory, or makes one there. */
  static open(_options: {
    directory: string;
    trustDomain: string;
    now?: () => number;
  }): Promise<MeshCertificateAuthority> {
    return Promise.reject(new Error("not written yet"));
  }

  sign(_request: {
    csrPem: string;
    spiffeId: string;
    ttlMs: number;
  }): Promise<{ chainPem: string; rootsPem: string }> {
    return Promise.reject(new Error("not written yet"));
  }
}
