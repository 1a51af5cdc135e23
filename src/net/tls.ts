/** Mutual TLS of the mesh (skeleton). */
import type net from "node:net";
import type tls from "node:tls";
import type { Failure } from "../kit/failure.ts";

/** A certificate with its key and the roots it trusts, ready for handshakes. */
export interface TlsIdentity {
  readonly spiffeId: string;
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly rootsPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly context: tls.SecureContext;
}

/** An established connection and who is at its other end. */
export interface TlsPeer {
  readonly socket: tls.TLSSocket;
  /** SPIFFE id. */
  readonly peer: string;
}

export function makeTlsIdentity(parts: {
  spiffeId?: string;
  certificatePem: string;
  keyPem: string;
  rootsPem: string;
}): TlsIdentity {
  throw new Error(`not written yet ${parts.spiffeId}`);
}

export interface AcceptTlsOptions {
  readonly identity: TlsIdentity;
  readonly trustDomains: readonly string[];
  readonly handshakeTimeoutMs: number;
}

export function acceptTls(
  _socket: net.Socket,
  _options: AcceptTlsOptions,
  _done: (result: TlsPeer | Failure) => void,
): void {}

export interface ConnectTlsOptions {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string | undefined;
  readonly identity: TlsIdentity;
  readonly expected: readonly string[];
  readonly timeoutMs: number;
}

export function connectTls(
  _options: ConnectTlsOptions,
  _done: (result: TlsPeer | Failure) => void,
): { abort(): void } {
  throw new Error("not written yet");
}
