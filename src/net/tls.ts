/**
 * Mutual TLS of the mesh (protocols.md §3.1): TLS 1.3 only, AES-GCM suites, ALPN exactly `h2`, both
 * sides prove a SPIFFE identity under the mesh's roots. No SNI, no resumption, no tickets.
 *
 * Chain, validity and key usage are OpenSSL's to judge; identities are read here from the
 * certificate's DER form. Every function ends in exactly one callback, never during the call, and a
 * socket that does not become a result is destroyed.
 */
import { constants, X509Certificate } from "node:crypto";
import type net from "node:net";
import tls from "node:tls";
import { Failure } from "../kit/failure.ts";
import { spiffeIdsOf, trustDomainOf } from "./subject-alt-names.ts";
import { connectTcp } from "./tcp-stream.ts";

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

const ALPN = "h2";

/**
 * X25519 first, as ztunnel's and Envoy's defaults have it: OpenSSL ≥ 3.5 left alone takes the
 * post-quantum one, an eighth of a handshake. It stays on offer, for peers that take no other
 * (ztunnel with `COMPLIANCE_POLICY=pqc`). Not found out by trying: an OpenSSL that does not know a
 * name leaves its error behind, for the next call that looks.
 */
function keyExchanges(): string {
  const [major = 0, minor = 0] = process.versions.openssl.split(".").map(Number);
  const isPostQuantum = major > 3 || (major === 3 && minor >= 5);
  return `X25519:P-256:P-384${isPostQuantum ? ":X25519MLKEM768" : ""}`;
}

const CONTEXT_OPTIONS = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  // Both are mandatory for peers; the first costs less by byte, and less still by handshake.
  ciphers: "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
  honorCipherOrder: true,
  ecdhCurve: keyExchanges(),
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
} as const;

/** Throws CERTIFICATE_UNAVAILABLE when the parts do not make an identity. */
export function makeTlsIdentity(parts: {
  spiffeId?: string;
  certificatePem: string;
  keyPem: string;
  rootsPem: string;
}): TlsIdentity {
  const { certificatePem, keyPem, rootsPem } = parts;
  try {
    const leaf = new X509Certificate(certificatePem);
    const [spiffeId] = spiffeIdsOf(leaf.raw);
    if (spiffeId === undefined) throw new Error("the certificate carries no SPIFFE id");
    if (parts.spiffeId !== undefined && parts.spiffeId !== spiffeId) {
      throw new Error(`the certificate is ${spiffeId}'s, not ${parts.spiffeId}'s`);
    }
    // Without roots Node would trust the system's.
    new X509Certificate(rootsPem);
    const context = tls.createSecureContext({
      ...CONTEXT_OPTIONS,
      cert: certificatePem,
      key: keyPem,
      ca: rootsPem,
    });
    return {
      spiffeId,
      certificatePem,
      keyPem,
      rootsPem,
      notBeforeMs: Date.parse(leaf.validFrom),
      notAfterMs: Date.parse(leaf.validTo),
      context,
    };
  } catch (caught) {
    throw Failure.from(caught, "CERTIFICATE_UNAVAILABLE");
  }
}

export interface AcceptTlsOptions {
  readonly identity: TlsIdentity;
  /** The client must carry an identity of one of these. */
  readonly trustDomains: readonly string[];
  readonly handshakeTimeoutMs: number;
}

/**
 * Server side of HBONE on an accepted socket. Exactly one callback.
 *
 * Only a `tls.Server` verifies client certificates by public API, so there is one per identity, to
 * which sockets are handed by its `connection` event; it never listens.
 */
export function acceptTls(
  socket: net.Socket,
  options: AcceptTlsOptions,
  done: (result: TlsPeer | Failure) => void,
): void {
  new Acceptance(socket, options, done).start();
}

/** One handshake in progress on the server side. */
class Acceptance {
  readonly #socket: net.Socket;
  readonly #options: AcceptTlsOptions;
  readonly #done: (result: TlsPeer | Failure) => void;
  readonly #key: string;
  readonly #pending: Map<string, Acceptance>;
  readonly #server: tls.Server;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;
  #socketError: string | undefined;

  constructor(
    socket: net.Socket,
    options: AcceptTlsOptions,
    done: (result: TlsPeer | Failure) => void,
  ) {
    this.#socket = socket;
    this.#options = options;
    this.#done = done;
    this.#key = addressesOf(socket);
    const { server, pending } = acceptorOf(options.identity);
    this.#server = server;
    this.#pending = pending;
  }

  start(): void {
    const socket = this.#socket;
    socket.on("error", this.#onSocketError);
    socket.once("close", this.#onSocketClose);
    if (socket.destroyed || socket.remoteAddress === undefined) {
      // Already gone: it may have closed before we listened, so its event may never come.
      socket.destroy();
      setImmediate(this.#onSocketClose);
      return;
    }
    const { handshakeTimeoutMs } = this.#options;
    this.#timer = setTimeout(
      () => this.fail(`no TLS handshake within ${handshakeTimeoutMs} ms`),
      handshakeTimeoutMs,
    );
    socket.setNoDelay(true);
    this.#pending.set(this.#key, this);
    this.#server.emit("connection", socket);
  }

  readonly #onSocketError = (error: Error): void => {
    this.#socketError = error.message;
  };

  readonly #onSocketClose = (): void => {
    this.fail(this.#socketError ?? "the client closed the connection during the handshake");
  };

  /** OpenSSL is content with the handshake. The client's certificate may still be anybody's. */
  secured(socket: tls.TLSSocket): void {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) {
      this.fail("the client sent no certificate");
      return;
    }
    if (!socket.authorized) {
      this.fail(`the client's certificate was not accepted: ${verdictOf(socket)}`);
      return;
    }
    if (socket.alpnProtocol !== ALPN) {
      this.fail(`the client did not offer ALPN ${ALPN}`);
      return;
    }
    const ids = spiffeIdsOf(certificate.raw);
    const [peer] = ids;
    const { trustDomains } = this.#options;
    const isAccepted = ids.some((id) => trustDomains.includes(trustDomainOf(id) ?? ""));
    if (peer === undefined || !isAccepted) {
      const domains = trustDomains.join(", ");
      const detail = `the client is ${ids.join(", ") || "nobody"}, which is not of ${domains}`;
      this.fail(detail, "TLS_PEER_REFUSED");
      return;
    }
    this.#settle();
    this.#done({ socket, peer });
  }

  fail(detail: string, code: "TLS_HANDSHAKE_FAILED" | "TLS_PEER_REFUSED" = "TLS_HANDSHAKE_FAILED") {
    if (this.#isOver) return;
    this.#settle();
    this.#socket.destroy();
    this.#done(new Failure(code, detail));
  }

  /** The error listener stays: a socket that is being destroyed may still report. */
  #settle(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#socket.off("close", this.#onSocketClose);
    if (this.#pending.get(this.#key) === this) this.#pending.delete(this.#key);
  }
}

interface Acceptor {
  readonly server: tls.Server;
  /** By the addresses of both ends, which are unique among living connections. */
  readonly pending: Map<string, Acceptance>;
}

const acceptors = new WeakMap<TlsIdentity, Acceptor>();

function acceptorOf(identity: TlsIdentity): Acceptor {
  let acceptor = acceptors.get(identity);
  if (acceptor === undefined) {
    acceptor = makeAcceptor(identity);
    acceptors.set(identity, acceptor);
  }
  return acceptor;
}

function makeAcceptor(identity: TlsIdentity): Acceptor {
  const pending = new Map<string, Acceptance>();
  const server = tls.createServer({
    ...CONTEXT_OPTIONS,
    cert: identity.certificatePem,
    key: identity.keyPem,
    ca: identity.rootsPem,
    requestCert: true,
    // `authorized` is checked above, where the reason for a refusal can still be read.
    rejectUnauthorized: false,
    ALPNProtocols: [ALPN],
  });
  server.on("secureConnection", (socket) => {
    socket.on("error", ignoreError);
    const acceptance = pending.get(addressesOf(socket));
    if (acceptance === undefined) socket.destroy();
    else acceptance.secured(socket);
  });
  server.on("tlsClientError", (error, socket) => {
    socket.on("error", ignoreError);
    pending.get(addressesOf(socket))?.fail(reasonOf(error));
  });
  return { server, pending };
}

function ignoreError(): void {}

function addressesOf(socket: net.Socket): string {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return `${remoteAddress}|${remotePort}|${localAddress}|${localPort}`;
}

/** Node gives a code; its type says an Error. */
function verdictOf(socket: tls.TLSSocket): string {
  const error: unknown = socket.authorizationError;
  return error instanceof Error ? error.message : String(error);
}

/** OpenSSL's errors say more in their `reason` than in their message. */
function reasonOf(error: Error): string {
  const { reason } = error as Error & { reason?: unknown };
  return typeof reason === "string" ? reason : error.message;
}

export interface ConnectTlsOptions {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string | undefined;
  readonly identity: TlsIdentity;
  /** SPIFFE ids of which the server must prove one. */
  readonly expected: readonly string[];
  /** For TCP and TLS together. */
  readonly timeoutMs: number;
}

/** Client side of HBONE. Exactly one callback, none after `abort`. */
export function connectTls(
  options: ConnectTlsOptions,
  done: (result: TlsPeer | Failure) => void,
): { abort(): void } {
  const startMs = performance.now();
  let handshake: { abort(): void } | undefined;
  const dial = connectTcp(options, (result) => {
    if (result instanceof Failure) {
      done(result);
      return;
    }
    const leftMs = Math.max(1, options.timeoutMs - (performance.now() - startMs));
    handshake = handshakeAsClient(result, options, leftMs, done);
  });
  return {
    abort() {
      dial.abort();
      handshake?.abort();
    },
  };
}

function handshakeAsClient(
  raw: net.Socket,
  options: ConnectTlsOptions,
  timeoutMs: number,
  done: (result: TlsPeer | Failure) => void,
): { abort(): void } {
  const { identity, expected } = options;
  let peer: string | undefined;
  // TLS ends both directions together; a half-open one would only be forgotten.
  raw.allowHalfOpen = false;
  const socket = tls.connect({
    socket: raw,
    secureContext: identity.context,
    ALPNProtocols: [ALPN],
    servername: "",
    rejectUnauthorized: true,
    checkServerIdentity: (_host, certificate) => {
      const ids = spiffeIdsOf(certificate.raw);
      peer = ids.find((id) => expected.includes(id));
      if (peer !== undefined) return undefined;
      const shown = ids.join(", ") || "nobody";
      return new Error(`the server is ${shown}, expected ${expected.join(" or ") || "nobody"}`);
    },
  });
  let isOver = false;
  const settle = (result: TlsPeer | Failure | undefined) => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    socket.off("close", onClose);
    if (result === undefined || result instanceof Failure) socket.destroy();
    if (result !== undefined) done(result);
  };
  const to = `${options.host}:${options.port}`;
  const fail = (detail: string) =>
    settle(new Failure("UPSTREAM_TLS_FAILED", `TLS with ${to}: ${detail}`));
  const onClose = () => fail("the server closed the connection during the handshake");
  const timer = setTimeout(() => {
    const detail = `${to}: no TLS handshake within ${options.timeoutMs} ms`;
    settle(new Failure("UPSTREAM_CONNECT_TIMEOUT", detail));
  }, timeoutMs);
  // Both stay for good: whoever takes the socket has listeners of its own, and errors are theirs.
  socket.on("error", (error) => fail(reasonOf(error)));
  raw.on("error", ignoreError);
  socket.once("close", onClose);
  socket.once("secureConnect", () => {
    if (!socket.authorized || peer === undefined) fail("the server proved no identity");
    else if (socket.alpnProtocol !== ALPN) fail(`the server did not choose ALPN ${ALPN}`);
    else settle({ socket, peer });
  });
  return { abort: () => settle(undefined) };
}

/** How long a peer may do nothing with our last words before the socket is destroyed, … */
const LINGER_MS = 1_000;
/** … when some of them are still here, … */
const LINGER_UNREAD_MS = 10_000;
/** … and how long it may take altogether. */
const LINGER_MAX_MS = 60_000;

/**
 * For a connection that we have ended: destroys the socket when the peer does not end it soon. At
 * once would be too early: data of the peer's that we no longer read would turn into a reset, which
 * overtakes what we sent last. A peer that reads slowly is given time; one that broke the protocol
 * (`isHasty`) is not.
 */
export function lingerThenDestroy(socket: net.Socket, isHasty = false): void {
  if (socket.destroyed) return;
  const startMs = performance.now();
  let movedAtMs = startMs;
  let { bytesRead, writableLength } = socket;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    if (socket.bytesRead !== bytesRead || socket.writableLength !== writableLength) {
      ({ bytesRead, writableLength } = socket);
      movedAtMs = nowMs;
    }
    const limitMs = writableLength > 0 ? LINGER_UNREAD_MS : LINGER_MS;
    const isStill = nowMs - movedAtMs >= limitMs * 0.9;
    if (isHasty || isStill || nowMs - startMs >= LINGER_MAX_MS) socket.destroy();
  }, LINGER_MS);
  socket.once("close", () => clearInterval(timer));
}
