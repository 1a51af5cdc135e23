/**
 * Tokens that the API server judges (TokenReview, audience `istio-ca`), and what they are bound to.
 *
 * A good answer is kept for a minute, never beyond the token's own end, so that a proxy's streams
 * and calls are one question; a bad one for some seconds, so that asking again and again costs the
 * API server little. A server that does not answer makes nobody a stranger: whoever asks is told to
 * come again (KUBERNETES_UNAVAILABLE).
 */
import { createHash } from "node:crypto";
import { decodeJwt } from "jose";
import { Failure } from "../../kit/failure.ts";
import { Turns } from "../../kit/turns.ts";
import { isRefusal, type KubeClient } from "../source/kubernetes/kube-client.ts";
import {
  type Authenticator,
  type Caller,
  isUnauthenticated,
  unauthenticated,
} from "./authenticator.ts";

/** The audience that Istio's proxies ask for (its TOKEN_AUDIENCES). */
const AUDIENCE = "istio-ca";
const PATH = "/apis/authentication.k8s.io/v1/tokenreviews";

const TOKEN_BYTES_MAX = 16 * 1024;
const GOOD_MS = 60_000;
const BAD_MS = 5_000;
const KEPT_MAX = 20_000;
const PARALLEL_REVIEWS = 16;
const WAITING_MAX = 10_000;
const REVIEW_TIMEOUT_MS = 10_000;

const POD_NAME = "authentication.kubernetes.io/pod-name";
const POD_UID = "authentication.kubernetes.io/pod-uid";
const SERVICE_ACCOUNTS = "system:serviceaccounts";

interface Review {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly audiences?: readonly string[];
    readonly error?: string;
    readonly user?: {
      readonly username?: string;
      readonly groups?: readonly string[];
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

interface Kept {
  readonly until: number;
  readonly answer: Promise<Caller>;
}

export class TokenReviews implements Authenticator {
  readonly #client: Pick<KubeClient, "write">;
  readonly #now: () => number;
  readonly #turns = new Turns(PARALLEL_REVIEWS, WAITING_MAX);
  /** By the token's hash, oldest first: tokens themselves are not kept. */
  readonly #kept = new Map<string, Kept>();

  constructor(client: Pick<KubeClient, "write">, now: () => number = Date.now) {
    this.#client = client;
    this.#now = now;
  }

  async authenticate(token: string | undefined): Promise<Caller> {
    if (token === undefined || token === "") throw unauthenticated("no bearer token");
    if (token.length > TOKEN_BYTES_MAX) throw unauthenticated("the token is too long");
    const endMs = endOf(token);
    if (this.#now() >= endMs) throw unauthenticated("the token has expired");
    const key = createHash("sha256").update(token).digest("base64");
    const kept = this.#kept.get(key);
    if (kept !== undefined && this.#now() < kept.until) return await kept.answer;
    if (!this.#turns.hasRoom) {
      throw new Failure("KUBERNETES_UNAVAILABLE", `${WAITING_MAX} tokens wait to be reviewed`);
    }
    const answer = this.#turns.run(() => this.#review(token));
    // Whoever comes meanwhile waits for the same answer.
    this.#keep(key, { until: Number.POSITIVE_INFINITY, answer });
    try {
      const caller = await answer;
      this.#keep(key, { until: Math.min(this.#now() + GOOD_MS, endMs), answer });
      return caller;
    } catch (caught) {
      if (isUnauthenticated(caught)) this.#keep(key, { until: this.#now() + BAD_MS, answer });
      else this.#kept.delete(key);
      throw caught;
    }
  }

  #keep(key: string, kept: Kept): void {
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    if (this.#kept.size <= KEPT_MAX) return;
    const [oldest] = this.#kept.keys();
    this.#kept.delete(oldest!);
  }

  async #review(token: string): Promise<Caller> {
    const body = {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenReview",
      spec: { token, audiences: [AUDIENCE] },
    };
    const signal = AbortSignal.timeout(REVIEW_TIMEOUT_MS);
    const answer = await this.#client.write("create", PATH, {}, body, signal);
    if (isRefusal(answer)) {
      const { status, message } = answer;
      // Not allowed to ask, or asked too much: that says nothing of the token.
      throw new Failure("KUBERNETES_UNAVAILABLE", `the token review: ${status} ${message}`);
    }
    return callerOf((answer.body as Review).status ?? {});
  }
}

function callerOf({
  authenticated,
  audiences,
  error,
  user,
}: NonNullable<Review["status"]>): Caller {
  if (authenticated !== true) {
    throw unauthenticated(`the token is refused: ${error || "it is nobody's"}`);
  }
  // A server that knows no audiences says none, and has not looked at them.
  if (!audiences?.includes(AUDIENCE)) {
    throw unauthenticated(`the token is not for the audience ${AUDIENCE}`);
  }
  const { username = "", groups = [], extra = {} } = user ?? {};
  const [, namespace, serviceAccount] =
    /^system:serviceaccount:([^:]+):([^:]+)$/.exec(username) ?? [];
  if (
    !groups.includes(SERVICE_ACCOUNTS) ||
    namespace === undefined ||
    serviceAccount === undefined
  ) {
    throw unauthenticated(`the token is of ${username || "nobody"}, which is no service account`);
  }
  return {
    namespace,
    serviceAccount,
    podName: extra[POD_NAME]?.[0],
    podUid: extra[POD_UID]?.[0],
    // Where a Pod is, the Pod says: a token may name the node that it was on.
    node: undefined,
  };
}

/** Of what says no end, the API server says it. */
function endOf(token: string): number {
  try {
    const { exp } = decodeJwt(token);
    return exp === undefined ? Number.POSITIVE_INFINITY : exp * 1000;
  } catch {
    throw unauthenticated("the token is not a JSON Web Token");
  }
}
