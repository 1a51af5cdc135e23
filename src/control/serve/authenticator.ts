/**
 * Who calls the control plane: the bearer token of a stream or call, judged.
 *
 * Without Kubernetes the control plane judges tokens that it signed itself (tokens.ts); with it,
 * the API server does. Both come to the same: a service account, and what the token is bound to.
 */
import { Failure } from "../../kit/failure.ts";

export interface Caller {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The Pod that the token is bound to. */
  readonly podName: string | undefined;
  /** That Pod's uid, where the token tells it. */
  readonly podUid?: string | undefined;
  /** The node of that Pod, where the token tells it. */
  readonly node: string | undefined;
}

export interface Authenticator {
  /**
   * Rejects with UNAUTHENTICATED; its message is for the operator's log, not for the caller, who
   * learns nothing but that it was refused. With any other failure when it cannot judge now.
   */
  authenticate(token: string | undefined): Promise<Caller>;
}

export function unauthenticated(why: string, cause?: unknown): Failure {
  return new Failure("UNAUTHENTICATED", why, { cause });
}

/** The token of an `authorization` header. */
export function bearerToken(header: string | null | undefined): string | undefined {
  const found = /^Bearer +(\S+) *$/i.exec(header ?? "");
  return found?.[1];
}

/** False: nothing is known against the caller, who may come again. */
export function isUnauthenticated(caught: unknown): boolean {
  return caught instanceof Failure && caught.code === "UNAUTHENTICATED";
}
