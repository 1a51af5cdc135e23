/** SOCKS5 server side (skeleton). */
import type net from "node:net";
import type { Failure } from "../kit/failure.ts";

export interface Socks5Request {
  readonly user: string;
  readonly password: string;
  /** A host name (as sent, lower case), or an IPv4 or IPv6 address. */
  readonly host: string;
  readonly port: number;
  /** What the client sent behind its request. */
  readonly rest: Buffer;
  /** Says yes; the socket (paused, without our listeners) is the caller's from now on. */
  accept(): net.Socket;
  /** Says no and closes. */
  refuse(reply: Socks5Reply): void;
}

export type Socks5Reply =
  | "generalFailure"
  | "notAllowed"
  | "networkUnreachable"
  | "hostUnreachable"
  | "connectionRefused"
  | "ttlExpired";

export interface Socks5Options {
  /** Time for greeting, authentication and request together. */
  readonly timeoutMs: number;
  /** Asked before the request is read; false ends the connection (RFC 1929 §2). */
  authenticate(user: string, password: string): boolean;
  onRequest(request: Socks5Request): void;
  /** The client went away, was malformed, too slow, or not authenticated; the socket is closed. */
  onFailed(failure: Failure): void;
}

export function acceptSocks5(_socket: net.Socket, _options: Socks5Options): void {}
