/**
 * The control plane's own certificate: for the names that proxies know it by, under the mesh's
 * root, renewed at half its life.
 *
 * New handshakes take the new one; open streams live on with the old.
 */
import { X509Certificate } from "node:crypto";
import { Failure } from "../../kit/failure.ts";
import { type Logger, log } from "../../kit/log.ts";

export interface ServerCertificateOptions {
  readonly authority: {
    issueServer(request: {
      names: readonly string[];
      ttlMs: number;
    }): Promise<{ certificatePem: string; keyPem: string }>;
  };
  /** DNS names and addresses under which it is dialled. */
  readonly names: readonly string[];
  readonly ttlMs?: number;
  readonly log?: Logger;
}

/** How istiod is called in a cluster; `localhost` is for tools beside it. */
export const SERVER_NAMES: readonly string[] = [
  "istiod.istio-system.svc",
  "istiod.istio-system",
  "localhost",
  "127.0.0.1",
  "::1",
];

const DAY_MS = 86_400_000;
const TTL_MS = 30 * DAY_MS;
const RETRY_MS = 60_000;
/** No sleep is longer: timers stand still while the machine does. */
const SLEEP_MAX_MS = 300_000;

export interface ServerIdentity {
  readonly certPem: string;
  readonly keyPem: string;
}

export class ServerCertificate {
  readonly #options: ServerCertificateOptions;
  readonly #log: Logger;
  #current: ServerIdentity;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(options: ServerCertificateOptions, first: ServerIdentity) {
    this.#options = options;
    this.#log = options.log ?? log("ca");
    this.#current = first;
    this.#renewAt(halfLifeOf(first));
  }

  static async issue(options: ServerCertificateOptions): Promise<ServerCertificate> {
    return new ServerCertificate(options, await issue(options));
  }

  /** For the next handshake. */
  get current(): ServerIdentity {
    return this.#current;
  }

  /** The CA is another: what hangs on the old one would end with it. */
  renew(): void {
    clearTimeout(this.#timer);
    void this.#renew();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #renewAt(atMs: number): void {
    if (this.#isClosed) return;
    const delayMs = Math.min(Math.max(0, atMs - Date.now()), SLEEP_MAX_MS);
    this.#timer = setTimeout(() => {
      if (Date.now() < atMs) this.#renewAt(atMs);
      else void this.#renew();
    }, delayMs);
    this.#timer.unref();
  }

  async #renew(): Promise<void> {
    try {
      this.#current = await issue(this.#options);
      this.#renewAt(halfLifeOf(this.#current));
    } catch (caught) {
      const { message } = Failure.from(caught, "CERTIFICATE_UNAVAILABLE");
      this.#log.error({ reason: message }, "the server certificate was not renewed");
      this.#renewAt(Date.now() + RETRY_MS);
    }
  }
}

/** From now on; a root that ends soon makes it short. */
function halfLifeOf({ certPem }: ServerIdentity): number {
  const nowMs = Date.now();
  const leftMs = Date.parse(new X509Certificate(certPem).validTo) - nowMs;
  return nowMs + Math.max(leftMs / 2, 1000);
}

async function issue(options: ServerCertificateOptions): Promise<ServerIdentity> {
  const { authority, names, ttlMs = TTL_MS } = options;
  const { certificatePem, keyPem } = await authority.issueServer({ names, ttlMs });
  return { certPem: certificatePem, keyPem };
}
